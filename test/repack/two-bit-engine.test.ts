import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { packageRoot, runJob } from '../../src/addon/load.js';
import type { NativeEngine } from '../../src/addon/types.js';
import { catalogEntry } from '../../src/models/catalog.js';
import { judgeTokens } from '../../src/models/smoke.js';
import type { ExpertsManifest } from '../../src/models/spec.js';
import { packDirectory, type PackedDirectory } from '../../src/repack/pack-directory.js';
import { testAddon } from './fixtures.js';

const addon = testAddon();
const source = join(packageRoot, 'models', 'tiny');
let dir: string;
let two: PackedDirectory;
let four: PackedDirectory;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'flashmoe-two-bit-'));
  two = await packDirectory(source, join(dir, '2bit'), { addon, quant: '2bit', threads: 2 });
  four = await packDirectory(source, join(dir, '4bit'), { addon, quant: '4bit', threads: 2 });
});
afterAll(() => rm(dir, { recursive: true, force: true }));

function open(modelDir: string, expertsDir: string): Promise<NativeEngine> {
  const tokenLimit = two.plan.spec.vocabSize;
  const rest = { threads: 1, ioThreads: 1, expertsPerToken: 0, backend: 'cpu' as const };
  const kernelsDir = join(packageRoot, 'metal');
  return runJob(addon.openEngine({ modelDir, expertsDir, tokenLimit, kernelsDir, ...rest }));
}

/** Greedy ids after a prompt, and the logits of the last prompt position. */
async function answer(expertsDir: string, prompt: number[], count: number) {
  const engine = await open(two.modelDir, expertsDir);
  const session = engine.createSession(prompt.length + count);
  await runJob(session.prefill(Int32Array.from(prompt), () => undefined));
  const logits = session.logits();
  const ids: number[] = [];
  while (ids.length < count) {
    const last = session.logits();
    ids.push(last.indexOf(Math.max(...last)));
    await runJob(session.decode(ids.at(-1) ?? 0));
  }
  session.close();
  engine.close();
  return { ids, logits };
}

/** The 2-bit experts written as 4-bit codes with the same scales and biases: the same values in a wider form. */
async function widened(): Promise<string> {
  const read = async (folder: string) =>
    JSON.parse(await readFile(join(folder, 'layout.json'), 'utf8')) as ExpertsManifest;
  const [narrow, wide] = [await read(two.expertsDir), await read(four.expertsDir)];
  const [from, to] = [narrow.layouts[0], wide.layouts[0]];
  if (from === undefined || to === undefined) throw new Error('no layout');
  const folder = join(dir, 'widened');
  await mkdir(folder);
  for (const layer of wide.layers) {
    const input = await readFile(join(two.expertsDir, layer.file));
    const output = Buffer.alloc(layer.size);
    for (let expert = 0; expert < wide.num_experts; expert++) {
      from.components.forEach(({ name, offset, size }, i) => {
        const start = expert * from.expert_stride + offset;
        const bytes = input.subarray(start, start + size);
        const at = expert * to.expert_stride + (to.components[i]?.offset ?? 0);
        if (!name.endsWith('.weight')) bytes.copy(output, at);
        else
          bytes.forEach((byte, j) => {
            output[at + 2 * j] = (byte & 3) | (((byte >> 2) & 3) << 4);
            output[at + 2 * j + 1] = ((byte >> 4) & 3) | ((byte >> 6) << 4);
          });
      });
    }
    await writeFile(join(folder, layer.file), output);
    layer.sha256 = createHash('sha256').update(output).digest('hex');
  }
  await writeFile(join(folder, 'layout.json'), JSON.stringify(wide));
  return folder;
}

test('a 2-bit model computes what the same values compute as 4-bit codes', async () => {
  const prompt = [1, 17, 200, 33, 5, 91, 64, 3];
  const [narrow, wide] = [
    await answer(two.expertsDir, prompt, 1),
    await answer(await widened(), prompt, 1),
  ];
  const spread = Math.max(...wide.logits) - Math.min(...wide.logits);
  narrow.logits.forEach((logit, i) => {
    expect(Math.abs(logit - (wide.logits[i] ?? NaN))).toBeLessThan(1e-4 * spread);
  });
});

test('the known answers of the bundled model are given at both widths', async () => {
  for (const [quant, packed] of [
    ['4bit', four],
    ['2bit', two],
  ] as const) {
    for (const question of catalogEntry('tiny').questions[quant]) {
      if (question.kind !== 'tokens') continue;
      const { ids } = await answer(packed.expertsDir, question.prompt, question.expected.length);
      expect(judgeTokens(question, ids), `${quant}: ${ids.join(' ')}`).toBe(true);
    }
  }
});
