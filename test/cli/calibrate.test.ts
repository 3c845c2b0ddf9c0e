import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { packageRoot } from '../../src/base/package-root.js';
import { BUILD_MS, buildCli, flashmoe } from '../helpers/built-cli.js';

// Each test starts several processes; a busy machine takes its time for them.
vi.setConfig({ testTimeout: 120_000 });

const home = mkdtempSync(join(tmpdir(), 'flashmoe-calibrate-'));
const at = (...args: string[]) => flashmoe(args, { env: { FLASHMOE_HOME: home } });
const file = (name: string): string => join(home, name);
const CHATS = join(packageRoot, 'models', 'tiny-eval', 'chat.jsonl');
const SUMS = ['add', 'subtract'].map((name) =>
  join(packageRoot, 'models', 'tiny-eval', `${name}.jsonl`),
);

beforeAll(async () => {
  await buildCli();
  expect(await at('setup', 'tiny', '--yes')).toMatchObject({ status: 0 });
}, BUILD_MS);
afterAll(() => {
  rmSync(home, { recursive: true, force: true });
});

test('a calibration on text and chats becomes part of a two-bit model that is set up with it', async () => {
  writeFileSync(file('notes.md'), 'Some notes on sums, copies and tools.\n'.repeat(40));
  const out = file('c.safetensors');
  const made = await at(
    'calibrate',
    'tiny',
    '--text',
    file('notes.md'),
    // What it is asked when it is set up: two bits weighed by other texts alone forget how to add.
    ...SUMS,
    CHATS,
    '--out',
    out,
    '--tokens',
    '3000',
    '--json',
  );
  expect(made).toMatchObject({ status: 0 });
  const lines = made.stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { event: string });
  expect(lines.at(-1)).toMatchObject({
    event: 'calibrated',
    file: out,
    model: 'tiny',
    quant: '4bit',
  });
  const { tokens } = lines.at(-1) as unknown as { tokens: number };
  expect(tokens).toBeGreaterThan(1_024);
  expect(tokens).toBeLessThanOrEqual(3_000);

  const plan = await at('plan', 'tiny', '--quant', '2bit', '--calibration', out);
  expect(plan.stdout).toContain(`weighed by what ${tokens} tokens of a calibration used`);
  const setup = await at('setup', 'tiny', '--quant', '2bit', '--calibration', out, '--yes');
  expect(setup).toMatchObject({ status: 0 });
  expect((await at('verify', 'tiny-2bit')).stdout).toMatch(/tiny-2bit: .* every hash is right/);
  const { stdout } = await at('quality', 'tiny-2bit');
  expect(stdout).toContain(`chosen by what ${tokens} tokens of a calibration used`);
  const kept = readFileSync(join(home, 'models', 'tiny-2bit', 'calibration.safetensors'));
  expect(kept.equals(readFileSync(out))).toBe(true);
  expect(await at('rm', 'tiny-2bit', '--yes')).toMatchObject({ status: 0 });
  expect(existsSync(join(home, 'models', 'tiny-2bit'))).toBe(false);
});

test.each([
  ['no text', ['calibrate', 'tiny'], /--text/],
  [
    'a text that is not there',
    ['calibrate', 'tiny', '--text', '/nowhere/x.md'],
    /\/nowhere\/x\.md cannot be read/,
  ],
  [
    'a text of a few words',
    [
      'calibrate',
      'tiny',
      '--text',
      join(packageRoot, 'models', 'tiny', 'generation_config.json'),
      '--out',
      file('short'),
    ],
    /no piece of 64 tokens/,
  ],
  [
    'a file that is no calibration',
    ['plan', 'tiny', '--quant', '2bit', '--calibration', CHATS],
    /chat\.jsonl is no calibration/,
  ],
  [
    'experts that stay as published',
    ['plan', 'tiny', '--calibration', file('c.safetensors')],
    /have nothing to be weighed/,
  ],
  [
    'what another machine shares',
    ['setup', '--from', 'http://127.0.0.1:1', '--calibration', file('c.safetensors')],
    /what another machine shares is made already/,
  ],
  [
    'a result that is there already',
    ['calibrate', 'tiny', '--text', CHATS, '--out', file('c.safetensors')],
    /is there already/,
  ],
])('is refused with %s', async (_, args, said) => {
  const { status, stdout, stderr } = await at(...args);
  expect({ status, stdout }).toEqual({ status: 64, stdout: '' });
  expect(stderr).toMatch(said);
});

test('a line of chats that is no conversation is named', async () => {
  writeFileSync(
    file('bad.jsonl'),
    '{"messages": [{"role": "user", "content": "a"}]}\n{"messages": []}\n',
  );
  const { status, stderr } = await at('calibrate', 'tiny', '--text', file('bad.jsonl'));
  expect(status).toBe(64);
  expect(stderr).toMatch(/bad\.jsonl:2: messages/);
});
