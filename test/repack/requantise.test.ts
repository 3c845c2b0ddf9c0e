import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { runJob } from '../../src/addon/load.js';
import type {
  ErrorSums,
  PackLayerJob,
  PackLayerResult,
  PackProjection,
} from '../../src/addon/types.js';
import { planDirectory } from '../../src/repack/pack-directory.js';
import type { PackPlan } from '../../src/repack/types.js';
import { FAMILIES, fixture, testAddon } from './fixtures.js';

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'flashmoe-requant-'));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

const GROUP = 64;

/** Packs the first routed layer of a fixture to 2 bits. */
async function packTwoBit(
  family: (typeof FAMILIES)[number],
  method: 'search' | 'minmax',
  threads: number,
): Promise<{ file: Buffer; result: PackLayerResult; plan: PackPlan; job: PackLayerJob }> {
  const addon = testAddon();
  const source = fixture(family);
  const plan = await planDirectory(source, { addon, quant: '2bit', threads: 1 });
  const layer = plan.layers[0];
  if (layer === undefined) throw new Error('no routed layer');
  const target = join(dir, `${family}-${method}-${threads}.bin`);
  const at = <T extends { source: string } | null>(tensor: T): T =>
    tensor && { ...tensor, source: join(source, tensor.source) };
  const job: PackLayerJob = {
    target,
    experts: layer.experts,
    expertStride: plan.layouts[layer.layout]?.expert_stride ?? 0,
    projections: layer.projections.map((p) => ({
      ...p,
      weight: at(p.weight),
      scales: at(p.scales),
      biases: at(p.biases),
    })),
    method,
    threads,
  };
  const result = await runJob(addon.packLayer(job, () => undefined));
  return { file: await readFile(target), result, plan, job };
}

const float = new DataView(new ArrayBuffer(4));
function bf16(bits: number): number {
  float.setUint32(0, bits * 65536);
  return float.getFloat32(0);
}
function f16(bits: number): number {
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  const size =
    exponent === 0 ? fraction / 1024 / 16384 : (1 + fraction / 1024) * 2 ** (exponent - 15);
  return bits & 0x8000 ? -size : size;
}
/** Round half to even on the upper 16 bits of a float. */
function toBf16(value: number): number {
  float.setFloat32(0, value);
  const bits = float.getUint32(0);
  return bf16(Math.floor((bits + 0x7fff + ((bits >> 16) & 1)) / 65536) % 65536);
}
function rint(x: number): number {
  const floor = Math.floor(x);
  const rest = x - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor;
}

/** All values of one expert's projection in the source. */
async function sourceValues(p: PackProjection, expert: number, experts: number): Promise<number[]> {
  const read = async (t: { source: string; offset: number; size: number }) => {
    const size = t.size / experts;
    const start = t.offset + expert * size;
    return (await readFile(t.source)).subarray(start, start + size);
  };
  if (p.scales === null || p.biases === null) throw new Error('unquantised');
  const [weight, scales, biases] = [
    await read(p.weight),
    await read(p.scales),
    await read(p.biases),
  ];
  const param = p.scales.dtype === 'F16' ? f16 : bf16;
  return Array.from({ length: p.rows * p.columns }, (_, i) => {
    const code = ((weight[i >> 1] ?? 0) >> (4 * (i & 1))) & 15;
    const g = 2 * Math.floor(i / GROUP);
    return Math.fround(
      Math.fround(param(scales.readUInt16LE(g)) * code) + param(biases.readUInt16LE(g)),
    );
  });
}

interface StoredGroup {
  scale: number;
  bias: number;
  codes: number[];
}

function storedGroups(file: Buffer, p: PackProjection, base: number): StoredGroup[] {
  const groups = (p.rows * p.columns) / GROUP;
  const at = p.targetOffsets;
  return Array.from({ length: groups }, (_, g) => ({
    scale: bf16(file.readUInt16LE(base + at.scales + 2 * g)),
    bias: bf16(file.readUInt16LE(base + at.biases + 2 * g)),
    codes: Array.from({ length: GROUP }, (_, j) => {
      const i = g * GROUP + j;
      return ((file[base + at.weight + (i >> 2)] ?? 0) >> (2 * (i & 3))) & 3;
    }),
  }));
}

const code = (value: number, scale: number, bias: number) =>
  scale === 0 ? 0 : Math.min(Math.max(rint((value - bias) / scale), 0), 3);

function errorOf(values: number[], scale: number, bias: number): number {
  return values.reduce((sum, v) => sum + (v - (code(v, scale, bias) * scale + bias)) ** 2, 0);
}

/** docs/format.md's grid-and-refit description in double precision: what our exact search has to beat. */
function referenceError(values: number[]): number {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const mean = values.reduce((a, b) => a + b) / values.length;
  let best = errorOf(values, toBf16((high - low) / 3), toBf16(low));
  for (let i = 0; i < 25; i++) {
    let scale = ((0.4 + (0.6 * i) / 24) * (high - low)) / 3;
    let bias = (low + high) / 2 - 1.5 * scale;
    for (let refit = 0; refit < 3; refit++) {
      const q = values.map((v) => code(v, scale, bias));
      const meanCode = q.reduce((a, b) => a + b) / q.length;
      const spread = q.reduce((sum, c) => sum + (c - meanCode) ** 2, 0);
      const joint = q.reduce((sum, c, j) => sum + (c - meanCode) * ((values[j] ?? 0) - mean), 0);
      if (spread > 0) scale = joint / spread;
      bias = mean - scale * meanCode;
    }
    best = Math.min(best, errorOf(values, toBf16(scale), toBf16(bias)));
  }
  return best;
}

const deviationOf = ({ sum, sumOfSquares, values }: ErrorSums) => sumOfSquares - sum ** 2 / values;
const relative = (e: ErrorSums[]) =>
  Math.sqrt(
    e.reduce((sum, p) => sum + p.squaredError, 0) / e.reduce((sum, p) => sum + deviationOf(p), 0),
  );

describe.each(FAMILIES)('requantising %s', (family) => {
  test('loses at least a quarter less than the range method', async () => {
    const search = await packTwoBit(family, 'search', 2);
    const minmax = await packTwoBit(family, 'minmax', 2);
    expect(search.file.length).toBe(minmax.file.length);
    const gain = 1 - relative(search.result.error) / relative(minmax.result.error);
    expect(gain).toBeGreaterThan(0.25);
  });

  test('writes the same bytes and sums with any number of threads', async () => {
    const one = await packTwoBit(family, 'search', 1);
    for (const threads of [2, 5]) {
      const other = await packTwoBit(family, 'search', threads);
      expect(other.result).toEqual(one.result);
      expect(other.file.equals(one.file)).toBe(true);
    }
  });

  test('is on no group worse than the range method, and over all better than refitted grids', async () => {
    const { file, result, job } = await packTwoBit(family, 'search', 2);
    const expert = 1;
    for (const p of job.projections) {
      const values = await sourceValues(p, expert, job.experts);
      let [ours, reference] = [0, 0];
      storedGroups(file, p, expert * job.expertStride).forEach(({ scale, bias, codes }, g) => {
        const group = values.slice(g * GROUP, (g + 1) * GROUP);
        const error = group.reduce(
          (sum, v, j) => sum + (v - ((codes[j] ?? 0) * scale + bias)) ** 2,
          0,
        );
        // Codes were chosen after the parameters were rounded.
        expect(error).toBeLessThanOrEqual(errorOf(group, scale, bias) * (1 + 1e-5));
        const [low, high] = [Math.min(...group), Math.max(...group)];
        const range = errorOf(group, toBf16((high - low) / 3), toBf16(low));
        expect(error).toBeLessThanOrEqual(range * (1 + 1e-5));
        ours += error;
        if (g % 8 === 0) reference += referenceError(group) - error;
      });
      expect(ours).toBeGreaterThan(0);
      expect(reference).toBeGreaterThan(0);
    }
    expect(result.error).toHaveLength(3);
  });

  test('reports the error of the bytes it stored', async () => {
    const { file, result, job } = await packTwoBit(family, 'search', 2);
    for (const [i, p] of job.projections.entries()) {
      let [error, sum, squares, count] = [0, 0, 0, 0];
      for (let expert = 0; expert < job.experts; expert++) {
        const values = await sourceValues(p, expert, job.experts);
        storedGroups(file, p, expert * job.expertStride).forEach(({ scale, bias, codes }, g) => {
          codes.forEach((c, j) => {
            const v = values[g * GROUP + j] ?? NaN;
            error += (v - (c * scale + bias)) ** 2;
            sum += v;
            squares += v * v;
            count++;
          });
        });
      }
      const reported = result.error[i];
      expect(reported?.values).toBe(count);
      expect(reported?.squaredError).toBeCloseTo(error, Math.ceil(5 - Math.log10(error)));
      const deviation = squares - (sum * sum) / count;
      expect((reported ? deviationOf(reported) : 0) / deviation).toBeCloseTo(1, 8);
    }
  });
});
