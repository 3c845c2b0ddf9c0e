// The fixtures as other converters would have written them. Where the values are the same the logits must be those of
// the reference; where a converter changes values, those of the same values written out in full.

import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { runJob } from '../../src/addon/load.js';
import { packageRoot } from '../../src/base/package-root.js';
import { packDirectory, planDirectory } from '../../src/repack/pack-directory.js';
import { type Family, type Golden, readGolden, relativeDifference } from '../addon/golden.js';
import {
  type Checkpoint,
  codesOf,
  dequantised,
  type FloatType,
  floats,
  type Matrix,
  packedCodes,
  quantisedModules,
  readCheckpoint,
  type Stored,
  stored,
  tripleOf,
  writeCheckpoint,
} from './checkpoint.js';
import { FAMILIES, fixture, testAddon } from './fixtures.js';

vi.setConfig({ testTimeout: 120_000 });

/** Of the logits' spread, as for the fixtures themselves. */
const TOLERANCE = 5e-4;
const GROUP = 64;

type Config = Record<string, unknown>;
interface Variant {
  tensors: Checkpoint;
  config: Config;
}

const addon = testAddon();
let dir: string;
let made = 0;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'flashmoe-variants-'));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

async function original(family: Family): Promise<Variant> {
  const config = JSON.parse(await readFile(join(fixture(family), 'config.json'), 'utf8')) as Config;
  return { tensors: await readCheckpoint(fixture(family)), config };
}

async function written({ config, tensors }: Variant): Promise<string> {
  const folder = join(dir, String(made++));
  await writeCheckpoint(folder, config, tensors);
  return folder;
}

const options = { addon, quant: '4bit' as const, threads: 1 };
const planned = async (variant: Variant) => planDirectory(await written(variant), options);

/** Packs a variant and computes the golden's prompt; warnings of the plan are returned beside. */
async function computed(variant: Variant, { prompt }: Golden) {
  const source = await written(variant);
  const { plan, modelDir, expertsDir } = await packDirectory(source, `${source}-packed`, options);
  const rest = { threads: 1, ioThreads: 1, tokenLimit: 512, expertsPerToken: 0 };
  const kernelsDir = join(packageRoot, 'metal');
  const engine = await runJob(
    addon.openEngine({ modelDir, expertsDir, kernelsDir, backend: 'cpu', ...rest }),
  );
  const session = engine.createSession(prompt.length);
  const { logits } = await runJob(session.evaluate(prompt, false));
  // Both: a session keeps its engine's files mapped, and the next garbage collection may be far.
  session.close();
  engine.close();
  return { logits, plan };
}

function reference({ tensors }: Golden): Float32Array {
  const logits = tensors.get('logits');
  if (!logits) throw new Error('golden.safetensors has no logits');
  return logits;
}

const isExpert = (module: string) => module.includes('.switch_mlp.');

/** Codes sixteen times as large with steps a sixteenth as wide: the same values, in eight bits. */
function widened(tensors: Checkpoint, module: string): void {
  const triple = tripleOf(tensors, module, GROUP);
  if (triple.bits !== 4) return;
  const codes = codesOf(triple.weight, 4).map((code) => code * 16);
  const scale = floats(triple.scales);
  const narrow = { ...scale, values: scale.values.map((value) => value / 16) };
  tensors.set(`${module}.weight`, packedCodes(codes, triple.shape, 8));
  for (const [part, matrix] of [
    ['scales', narrow],
    ['biases', floats(triple.biases)],
  ] as const) {
    // In the original's type where that is exact, else wider.
    const same = stored(triple.scales.dtype as FloatType, matrix);
    const isExact = floats(same).values.every((value, i) => value === matrix.values[i]);
    tensors.set(`${module}.${part}`, isExact ? same : stored('F32', matrix));
  }
  const types = [tensors.get(`${module}.scales`)?.dtype, tensors.get(`${module}.biases`)?.dtype];
  if (types[0] !== types[1]) tensors.set(`${module}.biases`, stored('F32', floats(triple.biases)));
}

/** Range only: four levels from the smallest to the largest value of each group. */
function narrowed(tensors: Checkpoint, module: string): void {
  const { shape, values } = dequantised(tripleOf(tensors, module, GROUP));
  const parameters = [...shape.slice(0, -1), (shape.at(-1) ?? 0) / GROUP];
  const count = values.length / GROUP;
  const scales = new Float32Array(count);
  const biases = new Float32Array(count);
  const codes = new Uint8Array(values.length);
  for (let group = 0; group < count; group++) {
    const from = group * GROUP;
    let [low, high] = [Infinity, -Infinity];
    for (let i = from; i < from + GROUP; i++) {
      low = Math.min(low, values[i] ?? NaN);
      high = Math.max(high, values[i] ?? NaN);
    }
    const step = (high - low) / 3;
    scales[group] = step;
    biases[group] = low;
    for (let i = from; i < from + GROUP; i++) {
      codes[i] = step === 0 ? 0 : Math.round(((values[i] ?? NaN) - low) / step);
    }
  }
  tensors.set(`${module}.weight`, packedCodes(codes, shape, 2));
  tensors.set(`${module}.scales`, stored('BF16', { shape: parameters, values: scales }));
  tensors.set(`${module}.biases`, stored('BF16', { shape: parameters, values: biases }));
}

function writtenOut(tensors: Checkpoint, module: string, dtype: FloatType = 'F32'): void {
  const matrix = dequantised(tripleOf(tensors, module, GROUP));
  for (const part of ['scales', 'biases']) tensors.delete(`${module}.${part}`);
  tensors.set(`${module}.weight`, stored(dtype, matrix));
}

/** kv_b_proj [heads · (nope + value), rank] as the two halves of newer conversions, and back. */
const KV = { heads: 4, nope: 64, value: 64, rank: 64 };

function split(tensors: Checkpoint, prefix: string, dtype: FloatType): void {
  const { heads, nope, value, rank } = KV;
  const { values } = dequantised(tripleOf(tensors, `${prefix}.kv_b_proj`, GROUP));
  for (const part of ['weight', 'scales', 'biases']) tensors.delete(`${prefix}.kv_b_proj.${part}`);
  const at = (head: number, row: number, column: number) =>
    values[(head * (nope + value) + row) * rank + column] ?? NaN;
  const q = new Float32Array(heads * rank * nope);
  const out = new Float32Array(heads * value * rank);
  for (let h = 0; h < heads; h++)
    for (let r = 0; r < rank; r++) {
      for (let n = 0; n < nope; n++) q[(h * rank + r) * nope + n] = at(h, n, r);
      for (let v = 0; v < value; v++) out[(h * value + v) * rank + r] = at(h, nope + v, r);
    }
  const put = (name: string, matrix: Matrix) =>
    tensors.set(`${prefix}.${name}.weight`, stored(dtype, matrix));
  put('embed_q', { shape: [heads, rank, nope], values: q });
  put('unembed_out', { shape: [heads, value, rank], values: out });
}

function joined(tensors: Checkpoint, prefix: string, dtype: FloatType): void {
  const { heads, nope, value, rank } = KV;
  const [q, out] = ['embed_q', 'unembed_out'].map((name) => {
    const { values } = dequantised(tripleOf(tensors, `${prefix}.${name}`, GROUP));
    for (const part of ['weight', 'scales', 'biases']) tensors.delete(`${prefix}.${name}.${part}`);
    return values;
  }) as [Float32Array, Float32Array];
  const values = new Float32Array(heads * (nope + value) * rank);
  for (let h = 0; h < heads; h++)
    for (let r = 0; r < rank; r++) {
      const base = h * (nope + value);
      for (let n = 0; n < nope; n++)
        values[(base + n) * rank + r] = q[(h * rank + r) * nope + n] ?? NaN;
      for (let v = 0; v < value; v++)
        values[(base + nope + v) * rank + r] = out[(h * value + v) * rank + r] ?? NaN;
    }
  const matrix = { shape: [heads * (nope + value), rank], values };
  tensors.set(`${prefix}.kv_b_proj.weight`, stored(dtype, matrix));
}

/** All float tensors in another type. */
function retyped(tensors: Checkpoint, dtype: FloatType): void {
  for (const [name, tensor] of tensors) {
    if (tensor.dtype !== 'U32') tensors.set(name, stored(dtype, floats(tensor)));
  }
}

const modules = (tensors: Checkpoint, which: (module: string) => boolean) =>
  quantisedModules(tensors).filter(which);
const attentions = (tensors: Checkpoint, part: string) =>
  [...tensors.keys()].flatMap((name) =>
    name.endsWith(`.self_attn.${part}.weight`) ? [name.slice(0, -part.length - 8)] : [],
  );

describe.each(FAMILIES)('%s', (family) => {
  let golden: Golden;
  beforeAll(async () => {
    golden = await readGolden(family);
  });

  const same: [string, (tensors: Checkpoint) => void][] = [
    [
      'experts in 8 bits',
      (t) =>
        modules(t, isExpert).forEach((m) => {
          widened(t, m);
        }),
    ],
    [
      'dense parts in 8 bits',
      (t) =>
        modules(t, (m) => !isExpert(m)).forEach((m) => {
          widened(t, m);
        }),
    ],
    [
      'parameters in F32',
      (t) => {
        retyped(t, 'F32');
      },
    ],
    [
      'unquantised experts',
      (t) =>
        modules(t, isExpert).forEach((m) => {
          writtenOut(t, m);
        }),
    ],
    [
      'unquantised dense parts',
      (t) =>
        modules(t, (m) => !isExpert(m)).forEach((m) => {
          writtenOut(t, m);
        }),
    ],
  ];
  test.each(same)('with %s gives the logits of the reference', async (_, change) => {
    const variant = await original(family);
    change(variant.tensors);
    const { logits } = await computed(variant, golden);
    expect(relativeDifference(logits, reference(golden))).toBeLessThan(TOLERANCE);
  });

  test('with nothing quantised, and a config that says so, gives the logits of the reference', async () => {
    const { tensors, config } = await original(family);
    modules(tensors, () => true).forEach((m) => {
      writtenOut(tensors, m);
    });
    const plain = { ...config };
    delete plain.quantization;
    delete plain.quantization_config;
    const { logits } = await computed({ tensors, config: plain }, golden);
    expect(relativeDifference(logits, reference(golden))).toBeLessThan(TOLERANCE);
  });

  // Rounding parameters changes values: the reference is then the same values in F32.
  test.each<FloatType>(['BF16', 'F16'])(
    'with parameters in %s gives the logits of the same values in F32',
    async (dtype) => {
      const variant = await original(family);
      retyped(variant.tensors, dtype);
      const exact = { ...variant, tensors: new Map(variant.tensors) };
      retyped(exact.tensors, 'F32');
      const [typed, wide] = [await computed(variant, golden), await computed(exact, golden)];
      expect(relativeDifference(typed.logits, wide.logits)).toBeLessThan(TOLERANCE);
    },
  );

  test('with experts that were stored in 2 bits gives the logits of those values written out', async () => {
    const variant = await original(family);
    for (const module of modules(variant.tensors, isExpert)) narrowed(variant.tensors, module);
    const full = { ...variant, tensors: new Map(variant.tensors) };
    for (const module of modules(full.tensors, isExpert)) writtenOut(full.tensors, module);
    const [narrow, wide] = [await computed(variant, golden), await computed(full, golden)];
    expect(relativeDifference(narrow.logits, wide.logits)).toBeLessThan(TOLERANCE);
    expect(relativeDifference(narrow.logits, reference(golden))).toBeGreaterThan(0.01);
    expect(narrow.plan.layouts[0]?.components[0]).toMatchObject({ bits: 2, group_size: GROUP });
  });

  test('with a block that says yes or no for every module, as older converters wrote it, is read without a warning', async () => {
    const { tensors, config } = await original(family);
    const gates = modules(tensors, (m) => /\.mlp\.(gate|shared_expert_gate)$/.test(m));
    for (const gate of gates) writtenOut(tensors, gate);
    const every = [...tensors.keys()].filter((name) => name.endsWith('.weight'));
    const answers = every.map((name): [string, boolean] => {
      const module = name.slice(0, -7);
      return [module, tensors.has(`${module}.scales`)];
    });
    expect(new Set(answers.map(([, answer]) => answer)).size).toBe(2);
    const quantization = { group_size: GROUP, bits: 4, ...Object.fromEntries(answers) };
    const variant = {
      tensors,
      config: { ...config, quantization, quantization_config: quantization },
    };
    const { logits, plan } = await computed(variant, golden);
    expect(plan.warnings.filter((warning) => warning.includes('config.json says'))).toEqual([]);
    expect(relativeDifference(logits, reference(golden))).toBeLessThan(TOLERANCE);
  });
});

describe('keys and values of latent attention', () => {
  test('in two unquantised halves compute what the whole does', async () => {
    const golden = await readGolden('deepseek_v3');
    for (const dtype of ['BF16', 'F16', 'F32'] as const) {
      const [whole, halves] = [await original('deepseek_v3'), await original('deepseek_v3')];
      for (const prefix of attentions(whole.tensors, 'kv_b_proj')) {
        writtenOut(whole.tensors, `${prefix}.kv_b_proj`, dtype);
        split(halves.tensors, prefix, dtype);
      }
      const [one, two] = [await computed(whole, golden), await computed(halves, golden)];
      expect(relativeDifference(two.logits, one.logits), dtype).toBeLessThan(TOLERANCE);
      // The 16-bit types round the values.
      if (dtype !== 'F32') continue;
      expect(relativeDifference(two.logits, reference(golden))).toBeLessThan(TOLERANCE);
    }
  });

  test('as one unquantised matrix compute what the halves do', async () => {
    const golden = await readGolden('kimi_k2');
    const variant = await original('kimi_k2');
    for (const prefix of attentions(variant.tensors, 'embed_q'))
      joined(variant.tensors, prefix, 'F32');
    const { logits } = await computed(variant, golden);
    expect(relativeDifference(logits, reference(golden))).toBeLessThan(TOLERANCE);
  });
});

describe('a checkpoint that is not of this kind is refused by name', () => {
  const q35 = () => original('qwen3_5_moe');
  const conv = 'language_model.model.layers.0.linear_attn.conv1d.weight';

  test('the original layout of convolutions, whose norms lack the added 1', async () => {
    const variant = await q35();
    const { bytes, dtype } = variant.tensors.get(conv) as Stored;
    variant.tensors.set(conv, { dtype, bytes, shape: [256, 1, 4] });
    await expect(planned(variant)).rejects.toMatchObject({
      code: 'ERR_UNSUPPORTED_MODEL',
      message: expect.stringMatching(
        /conv1d\.weight.*\[256, 1, 4\].*norms also lack the added 1/,
      ) as string,
    });
  });

  test.each<[string, Config, string]>([
    ['mode', { bits: 4, group_size: 32, mode: 'mxfp6' }, 'quantization.mode = "mxfp6"'],
    ['mode of one module', { bits: 4, group_size: 64, lm_head: { mode: 'int8' } }, 'mode = "int8"'],
    ['tool', { quant_method: 'awq', bits: 4 }, 'quantization.quant_method = "awq"'],
  ])('another %s', async (_, quantization, message) => {
    const { tensors, config } = await q35();
    const asked = { ...config, quantization, quantization_config: quantization };
    await expect(planned({ tensors, config: asked })).rejects.toMatchObject({
      code: 'ERR_UNSUPPORTED_MODEL',
      message: expect.stringContaining(message) as string,
    });
  });

  test('seven-bit codes, by their shapes', async () => {
    const variant = await q35();
    const module = 'language_model.model.layers.1.mlp.switch_mlp.up_proj';
    const { dtype, shape, bytes } = variant.tensors.get(`${module}.weight`) as Stored;
    const long = Buffer.concat([bytes, bytes]).subarray(0, (bytes.length * 7) / 4);
    variant.tensors.set(`${module}.weight`, {
      dtype,
      shape: [...shape.slice(0, -1), 28],
      bytes: long,
    });
    await expect(planned(variant)).rejects.toMatchObject({
      code: 'ERR_UNSUPPORTED_MODEL',
      message: expect.stringContaining(
        'layers.1.mlp.switch_mlp.up_proj: stored with 7 bits',
      ) as string,
    });
  });

  test('an element type that no converter writes weights in', async () => {
    const variant = await q35();
    const module = 'language_model.model.norm.weight';
    const norm = floats(variant.tensors.get(module) as Stored);
    const { bytes, shape } = stored('F32', norm);
    variant.tensors.set(module, { dtype: 'U32', shape, bytes });
    await expect(planned(variant)).rejects.toMatchObject({
      message: expect.stringContaining('model.norm.weight is U32') as string,
    });
  });
});
