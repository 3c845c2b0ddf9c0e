// calibration.safetensors: how large what experts multiply their weights with is, channel by channel, so that two bits
// can be spent where they show. docs/format.md has the layout. Written by `flashmoe calibrate`, read by a plan.

import { createHash } from 'node:crypto';
import { open, type FileHandle } from 'node:fs/promises';
import type { ChannelSquares, ImportanceRow } from '../addon/types.js';
import { asFlashmoeError, FlashmoeError } from '../base/errors.js';
import type { Projection } from '../models/names.js';
import type { Quant } from '../models/quant.js';
import { readHeader } from './safetensors.js';
import type { Calibration, ReadRange, SourceTensor } from './types.js';

/** In the folder of a model that was made with it. */
export const CALIBRATION_FILE = 'calibration.safetensors';

const FORMAT = 'flashmoe-calibration-1';
/** A model with 512 experts in 60 layers takes 63 MB. */
const MOST_BYTES = 4 * 2 ** 30;
const HASH_PIECE = 1 << 20;
/** Of one layer, in bytes. */
const MOST_USES = 4 << 16;

/** A calibration and where its rows are. */
export interface CalibrationRows extends Calibration {
  tensors: ReadonlyMap<string, SourceTensor>;
  /** By layer, how many tokens chose each expert; empty in a file of old, which doesn't say. */
  uses: ReadonlyMap<number, readonly number[]>;
}

/**
 * An expert that few tokens chose has seen too little to be believed: so many tokens that tell channels apart by nothing
 * are added to what it saw.
 */
const EVEN_TOKENS = 32;

/** The file for layers that saw something, as bytes. `about` are repository and commit of the model, and tokens in all. */
export function calibrationBytes(
  layers: ReadonlyMap<number, ChannelSquares>,
  about: Omit<Calibration, 'size' | 'sha256'>,
): Buffer {
  const header: Record<string, unknown> = {
    __metadata__: {
      format: FORMAT,
      ...{ repo: about.repo, commit: about.commit, tokens: String(about.tokens) },
    },
  };
  const parts: Buffer[] = [];
  let end = 0;
  const add = (name: string, shape: number[], values: Float64Array): void => {
    const bytes = bf16Bytes(values);
    header[name] = { dtype: 'BF16', shape, data_offsets: [end, (end += bytes.length)] };
    parts.push(bytes);
  };
  const uses = (name: string, tokens: Float64Array): void => {
    const bytes = Buffer.from(Float32Array.from(tokens).buffer);
    const shape = [tokens.length];
    header[name] = { dtype: 'F32', shape, data_offsets: [end, (end += bytes.length)] };
    parts.push(bytes);
  };
  for (const [layer, { experts, input, inner, tokens }] of layers) {
    const columns = inner.length / experts;
    const all = tokens.reduce((sum, count) => sum + count, 0);
    add(`layers.${layer}.input`, [input.length], meansOf(input, all));
    const means = new Float64Array(inner.length);
    tokens.forEach((count, expert) => {
      const row = inner.subarray(expert * columns, (expert + 1) * columns);
      means.set(meansOf(row, count), expert * columns);
    });
    add(`layers.${layer}.inner`, [experts, columns], means);
    uses(`layers.${layer}.tokens`, tokens);
  }
  const json = JSON.stringify(header);
  const text = Buffer.from(json.padEnd(Math.ceil(json.length / 8) * 8));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([length, text, ...parts]);
}

/** Mean squares of what `count` tokens added up to, and of even ones; all 1 where there was nothing. Pure. */
function meansOf(sums: Float64Array, count: number): Float64Array {
  const total = sums.reduce((sum, value) => sum + value, 0);
  if (!(total > 0)) return sums.map(() => 1);
  const even = total / sums.length / count;
  return sums.map((sum) => (sum + EVEN_TOKENS * even) / (count + EVEN_TOKENS));
}

/** Little-endian, rounded to the nearest, ties to even. */
function bf16Bytes(values: Float64Array): Buffer {
  const words = new Uint32Array(Float32Array.from(values).buffer);
  const bytes = Buffer.alloc(2 * words.length);
  words.forEach((word, i) => {
    bytes.writeUInt16LE(((word + 0x7fff + ((word >>> 16) & 1)) >>> 16) & 0xffff, 2 * i);
  });
  return bytes;
}

/** Reads the header and hashes the file. ERR_USAGE for what is no calibration. */
export async function readCalibration(path: string): Promise<CalibrationRows> {
  const file = await open(path, 'r').catch((cause: unknown) => {
    throw refusal(path, 'cannot be read', cause);
  });
  try {
    return await readOpen(file, path);
  } catch (error) {
    if (error instanceof FlashmoeError && error.code === 'ERR_SAFETENSORS') {
      throw refusal(path, 'is no calibration', error);
    }
    throw asFlashmoeError(error);
  } finally {
    await file.close();
  }
}

async function readOpen(file: FileHandle, path: string): Promise<CalibrationRows> {
  const { size } = await file.stat();
  if (size < 16 || size > MOST_BYTES) throw refusal(path, `has ${size} bytes`);
  // Over the handle that is hashed below, so that header and hash are of one file.
  const read: ReadRange = async (start, length) => {
    const { bytesRead, buffer } = await file.read(Buffer.alloc(length), 0, length, start);
    return buffer.subarray(0, bytesRead);
  };
  const { tensors, metadata } = await readHeader(read, size, path);
  const field = (name: string): string => {
    const value = metadata[name];
    if (value === undefined) throw refusal(path, `does not say its ${name}`);
    return value;
  };
  if (field('format') !== FORMAT) throw refusal(path, `is of format ${field('format')}`);
  const tokens = Number(field('tokens'));
  if (!Number.isSafeInteger(tokens) || tokens < 1) throw refusal(path, 'has no number of tokens');
  const uses = new Map<number, number[]>();
  for (const { name, dtype, offset, size: length } of tensors) {
    const layer = /^layers\.(\d{1,4})\.tokens$/.exec(name)?.[1];
    if (layer === undefined || dtype !== 'F32' || length > MOST_USES) continue;
    const bytes = Buffer.from(await read(offset, length));
    uses.set(
      Number(layer),
      Array.from({ length: length / 4 }, (_, i) => bytes.readFloatLE(4 * i)),
    );
  }
  return {
    ...{
      size,
      uses,
      sha256: await hashOf(file),
      repo: field('repo'),
      commit: field('commit'),
      tokens,
    },
    tensors: new Map(tensors.map((tensor) => [tensor.name, tensor])),
  };
}

async function hashOf(file: FileHandle): Promise<string> {
  const hash = createHash('sha256');
  const stream = file.createReadStream({ start: 0, autoClose: false, highWaterMark: HASH_PIECE });
  for await (const chunk of stream) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

/** The row of a projection of a layer, `columns` wide. ERR_USAGE when the file has none that fits. */
export function importanceOf(
  calibration: CalibrationRows,
  place: { layer: number; projection: Projection; experts: number; columns: number },
): ImportanceRow {
  const { layer, projection, experts, columns } = place;
  const isInner = projection === 'down_proj';
  const name = `layers.${layer}.${isInner ? 'inner' : 'input'}`;
  const shape = isInner ? [experts, columns] : [columns];
  const tensor = calibration.tensors.get(name);
  if (tensor?.dtype !== 'BF16' || tensor.shape.join() !== shape.join()) {
    const found =
      tensor === undefined ? 'is not there' : `is ${tensor.dtype} [${tensor.shape.join(', ')}]`;
    throw refusal(CALIBRATION_FILE, `${name} ${found}; this model needs [${shape.join(', ')}]`);
  }
  return { source: CALIBRATION_FILE, offset: tensor.offset, stride: isInner ? 2 * columns : 0 };
}

/** What a plan keeps of it. ERR_USAGE where nothing would be weighed, or by another model's activations. */
export function fitting(
  of: Calibration,
  { quant, repo }: { quant: Quant; repo: string },
): Calibration {
  requireNarrow(quant);
  if (of.repo !== repo) {
    throw new FlashmoeError('ERR_USAGE', `the calibration is of ${of.repo}, not of ${repo}`, {
      hint: 'calibrate a model of this repository',
      subject: '--calibration',
    });
  }
  const { size, sha256, commit, tokens } = of;
  return { size, sha256, repo, commit, tokens };
}

/** ERR_USAGE for a width at which nothing is requantised. */
export function requireNarrow(quant: Quant): void {
  if (quant !== '4bit') return;
  throw new FlashmoeError(
    'ERR_USAGE',
    'experts that stay as published have nothing to be weighed',
    {
      hint: 'add --quant 2bit, 3bit or mixed',
      subject: '--calibration',
    },
  );
}

function refusal(path: string, what: string, cause?: unknown): FlashmoeError {
  return new FlashmoeError('ERR_USAGE', `${path} ${what}`, {
    hint: '`flashmoe calibrate MODEL --text FILE` writes one',
    subject: '--calibration',
    cause,
  });
}
