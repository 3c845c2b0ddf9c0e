// Whole setups of original checkpoints from a hub over HTTP: quantised as their ranges arrive, with the peak that was
// promised, whatever kills them.

import { rmSync, statfsSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { homePaths } from '../../src/base/paths.js';
import type { Quant } from '../../src/models/quant.js';
import type { TokensQuestion } from '../../src/models/smoke.js';
import { readJournal } from '../../src/store/journal.js';
import { installationPaths } from '../../src/store/model-files.js';
import { qualityOf, type ProjectionQuality } from '../../src/store/requantisation.js';
import { reduceJournal } from '../../src/store/state.js';
import { readStoredPlan } from '../../src/store/stored-plan.js';
import { fixture } from '../repack/fixtures.js';
import { KilledSetup } from './cut-short.js';
import { only, setUp, type RunOptions, type RunResult } from './in-process.js';
import { hashesBelow } from './provisioned.js';
import { mountSmallVolume } from './small-volume.js';

const PROMPT: TokensQuestion = {
  ...{ kind: 'tokens', name: 'a prompt', prompt: [3, 14, 15, 92, 65], expected: [], margins: [] },
};
let home: string;

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'fm-originals-'));
});
afterAll(() => rm(home, { recursive: true }));

/** Served on loopback by the hub's own routes, fetched as any repository is. */
function setUpOriginal(
  name: string,
  quant: Quant,
  options: RunOptions & { at?: string } = {},
): Promise<RunResult> {
  const { at = join(home, `${name}-${quant}`), request, ...others } = options;
  const asked = { bundled: fixture(name), questions: [PROMPT], ...request };
  return setUp(at, { quant, ...others, request: asked });
}

async function qualityBelow(at: string, quant: Quant): Promise<ProjectionQuality[]> {
  const paths = installationPaths(homePaths(at), 'tiny', quant);
  const journal = await readJournal(paths.journal);
  const stored = await readStoredPlan(paths.plan);
  if (journal === null || stored === null) throw new Error(`${at} has no journal or no plan`);
  return qualityOf(stored.pack, [...reduceJournal(journal.entries).errors.values()]);
}

describe('an original checkpoint', { timeout: 120_000 }, () => {
  it.each<[string, Quant, number]>([
    ['qwen3_moe-bf16', '4bit', 9],
    ['qwen3_5_moe-bf16', '2bit', 8],
    ['qwen3_5_moe-bf16', '5bit', 8],
    ['deepseek_v3-fp8', 'mixed', 9],
    ['deepseek_v3-fp8', '3bit', 9],
    // Exact: no error is left to tell.
    ['kimi_k2-int4', '4bit', 0],
    ['kimi_k2-int4', '2bit', 9],
    ['kimi_k2-int4', '3bit', 9],
    ['gpt_oss-mxfp4', '4bit', 0],
    ['gpt_oss-mxfp4', 'mixed', 4],
  ])('%s becomes %s, answers, and keeps to its peak', async (name, quant, quantised) => {
    const { error, receipt, events } = await setUpOriginal(name, quant);
    expect(error).toBeNull();
    const [planned] = only(events, 'plan');
    expect(receipt?.peakBytes).toBeLessThanOrEqual(planned?.plan.peakBytes ?? 0);
    const quality = await qualityBelow(join(home, `${name}-${quant}`), quant);
    expect(quality).toHaveLength(quantised);
    for (const { errors, measured } of quality) {
      expect(measured).toBe(1);
      expect(errors?.relativeRmse).toBeLessThan(0.42);
      expect(errors?.relativeRmse).toBeLessThanOrEqual(errors?.rangeRelativeRmse ?? 0);
    }
    if (quantised > 0) expect(receipt?.weightErrors?.relativeRmse).toBeGreaterThan(0);
  });

  it('is not made wider than its authors published it', async () => {
    const { error } = await setUpOriginal('kimi_k2-int4', '5bit');
    expect(error).toMatchObject({ code: 'ERR_USAGE', subject: '--quant' });
    expect(error?.message).toContain('published with 4 bits');
  });

  it('that is killed again and again makes the files of a setup that was left alone', async () => {
    const repo = fixture('deepseek_v3-fp8');
    const alone = await KilledSetup.of(repo, join(home, 'alone'), '4bit');
    const killed = await KilledSetup.of(repo, join(home, 'killed'), '4bit');
    try {
      const whole = await alone.run(null);
      expect(whole.finished, whole.stderr).toBe(true);
      let deaths = 0;
      for (; deaths < 6; deaths += 1) {
        const run = await killed.run(alone.sent / 8, 3 * deaths);
        if (run.finished) break;
      }
      const last = await killed.run(null);
      expect(last.finished, last.stderr).toBe(true);
      expect(deaths).toBeGreaterThan(3);
      console.log(`${deaths} kills, ${killed.sent - alone.sent} bytes wasted of ${alone.sent}`);
      expect(await hashesBelow(killed.paths.root)).toEqual(await hashesBelow(alone.paths.root));
    } finally {
      await alone.hub.close();
      await killed.hub.close();
    }
  });

  it('waits for room on a full disk, and then makes the same files', async ({ skip }) => {
    const at = join(home, 'full');
    const volume = mountSmallVolume(join(at, 'models'), 12 << 20);
    if (volume === null) return skip('no volume');
    const filler = join(at, 'models', 'filler');
    let isFull = false;
    try {
      const { error, events } = await setUpOriginal('deepseek_v3-fp8', '4bit', {
        at,
        onEvent: (event) => {
          if (event.type === 'shard' && event.status === 'started' && !isFull) {
            isFull = true;
            const { bavail, bsize } = statfsSync(join(at, 'models'));
            writeFileSync(filler, Buffer.alloc(Math.max(0, bavail * bsize - 100_000), 1));
          }
          if (event.type === 'waiting') rmSync(filler, { force: true });
        },
      });
      expect(error).toBeNull();
      expect(only(events, 'waiting').map(({ code }) => code)).toContain('ERR_DISK_FULL');
      expect((await setUpOriginal('deepseek_v3-fp8', '4bit')).error).toBeNull();
      const [made, expected] = [at, join(home, 'deepseek_v3-fp8-4bit')].map((each) =>
        hashesBelow(join(each, 'models', 'tiny')),
      );
      expect(await made).toEqual(await expected);
    } finally {
      volume.unmount();
    }
  });

  it('begun without --like-mlx does not go on with it', async () => {
    const at = join(home, 'rule');
    const begun = await setUpOriginal('qwen3_moe-bf16', '4bit', {
      at,
      onEvent: (event, { abort }) => {
        if (event.type === 'shard' && event.status === 'started') abort.abort();
      },
    });
    expect(begun.error?.code).toBe('ERR_INTERRUPTED');
    const other = await setUpOriginal('qwen3_moe-bf16', '4bit', { at, request: { likeMlx: true } });
    expect(other.error).toMatchObject({ code: 'ERR_JOURNAL', subject: '--like-mlx' });
    expect((await setUpOriginal('qwen3_moe-bf16', '4bit', { at })).error).toBeNull();
  });
});
