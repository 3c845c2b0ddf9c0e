import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runJob } from '../../src/addon/load.js';
import { packageRoot } from '../../src/base/package-root.js';
import type { NativeEngine } from '../../src/addon/types.js';
import { TINY_QUESTIONS } from '../helpers/tiny-questions.js';
import { checkTokens } from '../../src/models/smoke.js';
import type { ExpertsManifest } from '../../src/models/spec.js';
import { packDirectory, type PackedDirectory } from '../../src/repack/pack-directory.js';
import { testCalibration } from '../installer/calibrations.js';
import { testAddon } from './fixtures.js';

const addon = testAddon();
const source = join(packageRoot, 'models', 'tiny');
let dir: string;
let two: PackedDirectory;
let four: PackedDirectory;
let three: PackedDirectory;
let mixed: PackedDirectory;
let tiered: PackedDirectory;
/** That mixed and tiered fill. */
let size = 0;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'flashmoe-two-bit-'));
  two = await packDirectory(source, join(dir, '2bit'), { addon, quant: '2bit', threads: 2 });
  three = await packDirectory(source, join(dir, '3bit'), { addon, quant: '3bit', threads: 2 });
  four = await packDirectory(source, join(dir, '4bit'), { addon, quant: '4bit', threads: 2 });
  // Room for down_proj of every layer and gate_proj of some: three layouts in one model.
  size = Math.round(two.plan.finalBytes + 0.45 * (four.plan.finalBytes - two.plan.finalBytes));
  const options = { addon, quant: 'mixed' as const, size, threads: 2 };
  mixed = await packDirectory(source, join(dir, 'mixed'), options);
  const calibration = join(dir, 'calibration.safetensors');
  await writeFile(
    calibration,
    testCalibration({ pack: two.plan }, 1, (expert, layer) => (expert * 7 + layer * 3) % 32),
  );
  const some = { ...options, quant: 'tiered' as const, calibration };
  tiered = await packDirectory(source, join(dir, 'tiered'), some);
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

/** Experts with their 2-bit codes written as 4-bit codes of the same scales and biases: the same values, wider. */
async function widened(packed: PackedDirectory): Promise<string> {
  const read = async (folder: string) =>
    JSON.parse(await readFile(join(folder, 'layout.json'), 'utf8')) as ExpertsManifest;
  const [narrow, wide] = [await read(packed.expertsDir), await read(four.expertsDir)];
  const [to] = wide.layouts;
  const folder = join(dir, `widened-${narrow.quant}`);
  await mkdir(folder);
  for (const layer of wide.layers) {
    const of = narrow.layers.find((each) => each.layer === layer.layer);
    if (of === undefined || to === undefined) throw new Error('no layout');
    const input = await readFile(join(packed.expertsDir, layer.file));
    const output = Buffer.alloc(layer.size);
    for (let expert = 0; expert < wide.num_experts; expert++) {
      const from = narrow.layouts[of.experts?.[expert]?.layout ?? of.layout];
      if (from === undefined) throw new Error('no layout');
      const begin = of.experts?.[expert]?.offset ?? expert * from.expert_stride;
      from.components.forEach(({ offset, size, bits }, i) => {
        const start = begin + offset;
        const bytes = input.subarray(start, start + size);
        const at = expert * to.expert_stride + (to.components[i]?.offset ?? 0);
        if (bits !== 2) bytes.copy(output, at);
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

test.each(['2-bit', 'mixed', 'tiered'])(
  'a %s model computes what the same values compute as 4-bit codes',
  async (width) => {
    const packed = { mixed, tiered }[width] ?? two;
    const prompt = [1, 17, 200, 33, 5, 91, 64, 3];
    const [narrow, wide] = [
      await answer(packed.expertsDir, prompt, 1),
      await answer(await widened(packed), prompt, 1),
    ];
    const spread = Math.max(...wide.logits) - Math.min(...wide.logits);
    narrow.logits.forEach((logit, i) => {
      expect(Math.abs(logit - (wide.logits[i] ?? NaN))).toBeLessThan(1e-4 * spread);
    });
  },
);

test('the known answers of the bundled model are given at every width', async () => {
  for (const [quant, packed] of [
    ['4bit', four],
    ['3bit', three],
    ['2bit', two],
    ['mixed', mixed],
    ['tiered', tiered],
  ] as const) {
    for (const question of TINY_QUESTIONS) {
      const { ids } = await answer(packed.expertsDir, question.prompt, question.expected.length);
      expect(checkTokens(question, ids), `${quant}: ${ids.join(' ')}`).toBe(true);
    }
  }
});

test('kept projections of a mixed model are the bytes of the source, narrow ones those of the 2-bit model', async () => {
  expect(mixed.plan.layouts.length).toBeGreaterThan(1);
  for (const [index, layer] of mixed.plan.layers.entries()) {
    const layoutOf = ({ plan }: PackedDirectory) =>
      plan.layouts[plan.layers[index]?.layout ?? NaN] ?? { expert_stride: NaN, components: [] };
    const bytesOf = async (packed: PackedDirectory) =>
      readFile(join(packed.expertsDir, layer.file));
    const files = {
      mixed: await bytesOf(mixed),
      two: await bytesOf(two),
      four: await bytesOf(four),
    };
    const { components, expert_stride } = layoutOf(mixed);
    for (const [i, { name, offset, size }] of components.entries()) {
      const weight = components.find(
        ({ name: each }) => each === name.replace(/\.\w+$/, '.weight'),
      );
      const [packed, file] = weight?.bits === 4 ? [four, files.four] : [two, files.two];
      const layout = layoutOf(packed);
      const expert = layer.experts - 1;
      const start = expert * layout.expert_stride + (layout.components[i]?.offset ?? NaN);
      const at = expert * expert_stride + offset;
      expect(files.mixed.subarray(at, at + size).equals(file.subarray(start, start + size))).toBe(
        true,
      );
    }
  }
});

test('experts of a tiered model are those as published or those of two bits, the most used ones of all layers first', async () => {
  const read = async (folder: string) =>
    JSON.parse(await readFile(join(folder, 'layout.json'), 'utf8')) as ExpertsManifest;
  const manifest = await read(tiered.expertsDir);
  expect([manifest.version, (await read(mixed.expertsDir)).version]).toEqual([2, 1]);
  const [keptUses, otherUses]: number[][] = [[], []];
  for (const [index, { layer, file, experts = [] }] of manifest.layers.entries()) {
    const made = await readFile(join(tiered.expertsDir, file));
    const published = await readFile(join(four.expertsDir, file));
    const layouts = experts.map(({ layout }) => manifest.layouts[layout]);
    expect(experts).toHaveLength(manifest.num_experts);
    for (const [expert, { offset }] of experts.entries()) {
      const [layout, wide] = [layouts[expert], four.plan.layouts[0]];
      if (layout === undefined || wide === undefined) throw new Error('no layout');
      const isKept = layout.expert_size === wide.expert_size;
      (isKept ? keptUses : otherUses)?.push((expert * 7 + layer * 3) % 32);
      if (!isKept) continue;
      const [from, size] = [expert * wide.expert_stride, wide.expert_stride];
      const same = made
        .subarray(offset, offset + size)
        .equals(published.subarray(from, from + size));
      expect(same, `layer ${index}, expert ${expert}`).toBe(true);
    }
  }
  expect(keptUses?.length).toBeGreaterThan(20);
  expect(otherUses?.length).toBeGreaterThan(20);
  expect(Math.min(...(keptUses ?? []))).toBeGreaterThanOrEqual(Math.max(...(otherUses ?? [])));
  expect(tiered.plan.finalBytes).toBeLessThanOrEqual(size);
  // Not one more would fit.
  const [narrow = 0, wide = 0] = tiered.plan.layouts.map((layout) => layout.expert_stride);
  expect(tiered.plan.finalBytes + Math.abs(wide - narrow)).toBeGreaterThan(size);
});
