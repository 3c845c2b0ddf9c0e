// The check that setup ends with, against the bundled model as it is and with something wrong.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { currentHost } from '../../src/base/host.js';
import { checkModel, type Checked } from '../../src/check/check-model.js';
import { openEngine } from '../../src/engine/open-engine.js';
import { OFFERED_QUANTS, type OfferedQuant } from '../../src/models/quant.js';
import { packDirectory } from '../../src/repack/pack-directory.js';
import { projectRoot } from '../helpers/built-cli.js';
import { testAddon } from '../repack/fixtures.js';
import { MUTANTS, SMALL_MUTANTS, withMutant, type PackedModel } from './mutants.js';

/** Receipts of the bundled model say these. */
const CONTENT: Record<OfferedQuant, string> = {
  '4bit': '02f3bfa45183df4738fc5ff5eb79ffcc703e5834420ec0c5ae2a54ab52653253',
  '2bit': 'f062d1a8631da706ec965d4c5557d237b91d1e42f2a2506b5b6b2c1d000fafe2',
  mixed: '58537e6bc01857d72d60ef53db8c2214b3552d0761decce5b1f37307a65785fe',
};
const UNKNOWN = '0'.repeat(64);

let root = '';
const packed = {} as Record<OfferedQuant | '3bit', PackedModel>;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'flashmoe-check-'));
  for (const quant of [...OFFERED_QUANTS, '3bit'] as const) {
    const source = join(projectRoot, 'models/tiny');
    const options = { addon: testAddon(), quant, threads: 2 };
    packed[quant] = await packDirectory(source, join(root, quant), options);
  }
});
afterAll(() => rm(root, { recursive: true }));

async function check(
  { modelDir, expertsDir }: PackedModel,
  quant: OfferedQuant | '3bit',
  contentSha256: string,
): Promise<Checked> {
  const places = { addon: testAddon(), id: 'tiny', modelDir, expertsDir };
  const engine = await openEngine({ ...places, threads: 2, ioThreads: 2, backend: 'cpu' });
  const host = currentHost();
  try {
    return await checkModel({
      ...{ engine, quant, contentSha256, questions: [], expertsBytes: 0 },
      ...{ memoryBytes: host.memoryBytes, diskBytesPerSecond: null },
      now: () => host.now(),
      monotonic: () => host.monotonic(),
      onAnswer: () => undefined,
      signal: new AbortController().signal,
    });
  } finally {
    await engine.close();
  }
}

describe('a check', { timeout: 120_000 }, () => {
  it.each(OFFERED_QUANTS)('accepts the bundled model at %s, known or not', async (quant) => {
    for (const content of [CONTENT[quant], UNKNOWN]) {
      const { report } = await check(packed[quant], quant, content);
      expect(report).toMatchObject({ verdict: 'passed', reasons: [] });
      expect(report.answers.filter(({ ok }) => !ok)).toEqual([]);
      expect(report.cost.decodedTokens).toBeLessThanOrEqual(200);
      expect(report.cost.readTokens).toBeGreaterThan(100);
      const recorded = report.notJudged.filter((line) => line.includes('recorded'));
      expect(recorded).toHaveLength(content === UNKNOWN ? 1 : 0);
    }
  });

  it('accepts it at three bits, of which no figures are recorded', async () => {
    const { report } = await check(packed['3bit'], '3bit', UNKNOWN);
    expect(report).toMatchObject({ verdict: 'passed', reasons: [] });
    // As far from its bound as the other widths are from theirs.
    expect(report.passage?.perplexity).toBeLessThan(2.6);
  });

  it.each(Object.keys(MUTANTS))('refuses it with %s, whoever published it', async (name) => {
    const report = await withMutant(packed['4bit'], MUTANTS[name] as never, async (mutant) => {
      return (await check(mutant, '4bit', UNKNOWN)).report;
    });
    expect(report.verdict, JSON.stringify(report.answers)).toBe('failed');
    expect(report.reasons.length).toBeGreaterThan(0);
  });

  it.each([...Object.keys({ ...MUTANTS, ...SMALL_MUTANTS }).entries()])(
    '(%i) refuses it with %s by its known figures',
    async (index, name) => {
      const change = { ...MUTANTS, ...SMALL_MUTANTS }[name] as never;
      // Each width has its turn: all of them took three times as long and told the same.
      const quant = OFFERED_QUANTS[index % OFFERED_QUANTS.length] ?? '4bit';
      const report = await withMutant(packed[quant], change, async (mutant) => {
        return (await check(mutant, quant, CONTENT[quant])).report;
      });
      expect(report.verdict, quant).toBe('failed');
      expect(report.reasons.join('; '), quant).toContain('these weights are known to make');
    },
  );
});
