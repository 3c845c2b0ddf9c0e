import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import type { WeightErrors } from '../../src/store/requantisation.js';
import { qualityText, type ModelQuality } from '../../src/ui/quality-view.js';
import { BUILD_MS, buildCli, flashmoe } from '../helpers/built-cli.js';

// Each test starts several processes; a busy machine takes its time for them.
vi.setConfig({ testTimeout: 120_000 });

const home = mkdtempSync(join(tmpdir(), 'flashmoe-quality-'));
const at = (...args: string[]) => flashmoe(args, { env: { FLASHMOE_HOME: home } });

beforeAll(buildCli, BUILD_MS);
afterAll(() => {
  rmSync(home, { recursive: true, force: true });
});

test('a mixed model of a given size is set up as planned, gives its known answers and tells its errors', async () => {
  // Between two bits and mixed: down_proj of some layers stays as published.
  const width = ['--quant', 'mixed', '--size', '9MB'];
  const plan = await at('plan', 'tiny', ...width, '--json');
  const promised = (JSON.parse(plan.stdout) as { plan: { finalBytes: number } }).plan.finalBytes;
  expect(promised).toBeLessThanOrEqual(9e6);
  const setup = await at('setup', 'tiny', '--yes', ...width);
  expect(setup).toMatchObject({ status: 0 });
  expect(setup.stdout).toMatch(/[89] of 9 right/);
  expect((await at('verify')).stdout).toMatch(/tiny-mixed: .* every hash is right/);
  const { models } = JSON.parse((await at('status', '--json')).stdout) as {
    models: { bytes: number }[];
  };
  expect(models.map(({ bytes }) => bytes)).toEqual([promised]);

  expect(setup.stdout).toMatch(
    /weights +relative RMSE 0\.\d{3}, \d\d\.\d % lower than the 0\.\d{3} of min\/max/,
  );
  const text = (await at('quality')).stdout;
  expect(text).toMatch(/^ +0 +0\.\d{3} \(0\.\d{3}\) +0\.\d{3} \(0\.\d{3}\) +as published$/m);
  expect(text).toMatch(/^ +7( +0\.\d{3} \(0\.\d{3}\)){3}$/m);
  for (const line of text.split('\n')) expect(line.length).toBeLessThanOrEqual(80);
  const { overall, projections } = JSON.parse(
    (await at('quality', 'tiny-mixed', '--json')).stdout,
  ) as ModelQuality;
  for (const each of projections) {
    expect(each.measured).toBe(1);
    expect(isAQuarterLower(each.errors)).toBe(true);
  }
  expect(isAQuarterLower(overall)).toBe(true);
});

test('a setup that was interrupted in a projection says of how much its figure is', () => {
  const errors = { relativeRmse: 0.3, rangeRelativeRmse: 0.5 };
  const text = qualityText({
    ...{ model: 'half', quant: '2bit', overall: errors, calibrationTokens: 1000 },
    projections: [
      { layer: 3, projection: 'gate_proj', errors, measured: 0.5 },
      { layer: 3, projection: 'up_proj', errors: null, measured: 0 },
    ],
  });
  expect(text).toMatch(/^ +3 +0\.300 \(0\.500\) +not known +as published$/m);
  expect(text).toMatch(/^2 of 2 are of a part/m);
  expect(text).toMatch(/^chosen by what 1000 tokens of a calibration used/m);
  for (const line of text.split('\n')) expect(line.length).toBeLessThanOrEqual(80);
});

test('a model as published has no errors to tell', async () => {
  expect(await at('setup', 'tiny', '--yes')).toMatchObject({ status: 0 });
  expect((await at('quality', 'tiny')).stdout).toMatch(/tiny: the experts are as published/);
});

function isAQuarterLower(errors: WeightErrors | null): boolean {
  return errors !== null && errors.relativeRmse < 0.75 * errors.rangeRelativeRmse;
}
