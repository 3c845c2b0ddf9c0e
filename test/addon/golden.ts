// A fixture packed by the real packer and its reference results, for tests of the engine.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { packageRoot } from '../../src/base/package-root.js';
import type { EngineOptions, NativeAddon, SamplingParams } from '../../src/addon/types.js';
import { packDirectory } from '../../src/repack/pack-directory.js';
import { fixture } from '../repack/fixtures.js';

export type Family = string;

export const GREEDY: SamplingParams = {
  temperature: 0,
  topP: 1,
  topK: 0,
  minP: 0,
  allowed: null,
  bias: null,
};

/** All ids may be chosen: the references were made without a token limit. */
export async function packFixture(
  addon: NativeAddon,
  family: Family,
  target: string,
): Promise<EngineOptions> {
  const packed = await packDirectory(fixture(family), target, { addon, quant: '4bit', threads: 2 });
  return {
    modelDir: packed.modelDir,
    expertsDir: packed.expertsDir,
    threads: 2,
    ioThreads: 2,
    tokenLimit: 512,
    expertsPerToken: 0,
    cache: '16bit',
    backend: 'cpu',
    kernelsDir: join(packageRoot, 'metal'),
  };
}

export interface Golden {
  prompt: Int32Array;
  greedy: number[];
  /** Distance of the two best logits at each greedy token. */
  margin: number[];
  tensors: Map<string, Float32Array>;
}

export async function readGolden(family: Family): Promise<Golden> {
  const json = JSON.parse(await readFile(join(fixture(family), 'golden.json'), 'utf8')) as {
    input_ids: number[] | number[][];
    greedy: number[];
    greedy_margin: number[];
  };
  const tensors = await readTensors(join(fixture(family), 'golden.safetensors'));
  return {
    prompt: Int32Array.from(json.input_ids.flat()),
    greedy: json.greedy,
    margin: json.greedy_margin,
    tensors: new Map([...tensors].map(([name, { values }]) => [name, values])),
  };
}

export interface Tensor {
  shape: number[];
  values: Float32Array;
}

/** The F32 tensors of a safetensors file. Knows nothing of the code that writes ours: it reads the reference's, too. */
export async function readTensors(path: string): Promise<Map<string, Tensor>> {
  const bytes = await readFile(path);
  const start = 8 + Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString('utf8', 8, start)) as Record<
    string,
    { dtype: string; shape: number[]; data_offsets: [number, number] }
  >;
  const tensors = new Map<string, Tensor>();
  for (const [name, { dtype, shape, data_offsets }] of Object.entries(header)) {
    if (dtype !== 'F32') continue;
    const [from, to] = data_offsets;
    // Tensors are unaligned in the file.
    const copy = new Uint8Array(bytes.subarray(start + from, start + to));
    tensors.set(name, { shape, values: new Float32Array(copy.buffer) });
  }
  return tensors;
}

/** Largest distance in standard deviations of the reference. */
export function deviations(got: Float32Array, reference: Float32Array): number {
  if (got.length !== reference.length) return NaN;
  const mean = reference.reduce((sum, value) => sum + value, 0) / reference.length;
  const squares = reference.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  let most = 0;
  reference.forEach((value, i) => {
    const difference = Math.abs((got[i] ?? NaN) - value);
    if (!(difference <= most)) most = difference;
  });
  return most / Math.sqrt(squares / reference.length);
}

/** Largest distance as a share of the reference's spread (largest minus smallest value). */
export function relativeDifference(got: Float32Array, reference: Float32Array): number {
  if (got.length !== reference.length) return NaN;
  let low = Infinity;
  let high = -Infinity;
  let most = 0;
  reference.forEach((value, i) => {
    low = Math.min(low, value);
    high = Math.max(high, value);
    const difference = Math.abs((got[i] ?? NaN) - value);
    if (!(difference <= most)) most = difference;
  });
  return most / (high - low);
}
