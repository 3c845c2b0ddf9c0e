// GGUF models in mixed blocks, packed by the real packer, against reference results of transformers in float32 on the decoded
// weights, with caches in f32.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { EngineOptions } from '../../src/addon/types.js';
import { packageRoot } from '../../src/base/package-root.js';
import { packDirectory } from '../../src/repack/pack-directory.js';
import { fixture, testAddon } from '../repack/fixtures.js';
import { deviations, GREEDY, type Golden, readGolden } from './golden.js';

/** In standard deviations of the reference. */
const TOLERANCE = 1e-3;
/** The reference sums in another order: a smaller distance of two logits may go either way. */
const SAFE_MARGIN = 0.01;

const addon = testAddon();
const noProgress = () => undefined;

describe.each(['qwen3moe-mixed', 'deepseek2-split'])('%s', (name) => {
  let folder: string;
  let options: EngineOptions;
  let golden: Golden;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'flashmoe-gguf-golden-'));
    const made = { addon, quant: '4bit' as const, threads: 2, file: '*.gguf' };
    const packed = await packDirectory(fixture(`gguf/${name}`), folder, made);
    options = {
      ...{ modelDir: packed.modelDir, expertsDir: packed.expertsDir, threads: 2, ioThreads: 2 },
      ...{ tokenLimit: 512, expertsPerToken: 0, cache: 'f32', backend: 'cpu' },
      kernelsDir: join(packageRoot, 'metal'),
    };
    golden = await readGolden(`gguf/${name}`);
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  test.each(['scalar', 'best'])(
    'logits and hidden states are those of the reference to a thousandth of a deviation (%s)',
    async (isa) => {
      const chosen = isa === 'best' ? {} : { isa };
      const engine = await addon.openEngine({ ...options, ...chosen }).done;
      const session = engine.createSession(64);
      const { logits, hidden } = await session.evaluate(golden.prompt, true).done;
      session.close();
      engine.close();
      const names = ['logits', ...hidden.map((_, i) => `hidden.${i}`)].filter((each) =>
        golden.tensors.has(each),
      );
      const off = [logits, ...hidden]
        .slice(0, names.length)
        .map((got, i) => deviations(got, golden.tensors.get(names[i] ?? '') ?? got));
      console.log(`${name}, ${isa}: ${off.map((value) => value.toExponential(1)).join(' ')}`);
      expect(names.length).toBeGreaterThan(1);
      off.forEach((value, i) => expect(value, names[i]).toBeLessThan(TOLERANCE));
    },
  );

  test('greedy tokens, and one token at a time, give what the reference gives', async () => {
    const engine = await addon.openEngine(options).done;
    const session = engine.createSession(128);
    await session.prefill(golden.prompt, noProgress).done;
    for (const [i, token] of golden.greedy.entries()) {
      if ((golden.margin[i] ?? 0) > SAFE_MARGIN) expect(session.sample(GREEDY), `${i}`).toBe(token);
      await session.decode(token).done;
    }
    const last = golden.tensors.get('logits_after_greedy');
    expect(deviations(session.logits(), last ?? new Float32Array())).toBeLessThan(TOLERANCE);
    session.close();
    engine.close();
  });
});
