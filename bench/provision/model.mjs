// A repository of random weights that is never written anywhere: each shard is a list of pieces of one block of memory, so
// that serving many gigabytes costs a hub no more than sending them.
import { createHash, randomFillSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { config } from '../make-safetensors.mjs';
import { attentionLinears, benchShape, expertLinears, layerNorms } from '../shape.mjs';

/** Of one layer with 128 experts, dense parts included; an original's values take 16 bits in place of 4.5. */
const LAYER_BYTES = 355e6;
const WIDER = 16 / 4.5;
const SHARD_BYTES = 1e9;

const GROUP = 64;
const TINY = join(dirname(fileURLToPath(import.meta.url)), '..', '..', 'models', 'tiny');
const SPEECH = ['tokenizer.json', 'tokenizer_config.json', 'generation_config.json'];
/**
 * Normal weights, each group of 64 rounded to the 16 steps of its range, as a published model is: how often the requantiser
 * has to look further depends on them. 32 MiB, repeated from changing places.
 */
const CODES = normalCodes(32 << 20);

function normalCodes(bytes) {
  const codes = Buffer.alloc(bytes);
  const values = new Float32Array(GROUP);
  for (let at = 0; at < bytes; at += GROUP / 2) {
    for (let i = 0; i < GROUP; i += 2) {
      const [radius, angle] = [
        Math.sqrt(-2 * Math.log(1 - Math.random())),
        Math.random() * 2 * Math.PI,
      ];
      values[i] = radius * Math.cos(angle);
      values[i + 1] = radius * Math.sin(angle);
    }
    const low = Math.min(...values);
    const step = (Math.max(...values) - low) / 15;
    for (let i = 0; i < GROUP; i += 2) {
      const [even, odd] = [values[i], values[i + 1]].map((value) =>
        Math.round((value - low) / step),
      );
      codes[at + i / 2] = even | (odd << 4);
    }
  }
  return codes;
}

/** Normal weights in BF16, for an original: 32 MiB as well. */
function normalValues(bytes) {
  const words = new Uint16Array(bytes / 2);
  const value = new Float32Array(1);
  const bits = new Uint32Array(value.buffer);
  for (let i = 0; i < words.length; i += 1) {
    const radius = Math.sqrt(-2 * Math.log(1 - Math.random()));
    value[0] = 0.02 * radius * Math.cos(Math.random() * 2 * Math.PI);
    words[i] = bits[0] >>> 16;
  }
  return Buffer.from(words.buffer);
}

/** `size` bytes of a block in pieces, from a place on that depends on `salt`. */
function repeated(block, size, salt) {
  const pieces = [];
  for (let at = (salt * 7919 * GROUP) % block.length, left = size; left > 0; at = 0) {
    pieces.push(block.subarray(at, Math.min(block.length, at + left)));
    left -= pieces.at(-1).length;
  }
  return pieces;
}

/** Small BF16 numbers, all usable as scales. */
const PARAMETERS = Buffer.from(
  randomFillSync(new Uint16Array(4 << 20)).map((word) => 0x3b80 | (word & 0x7f)).buffer,
);

function parameters(size) {
  const pieces = [];
  for (let left = size; left > 0; left -= pieces.at(-1).length) {
    pieces.push(PARAMETERS.subarray(0, Math.min(PARAMETERS.length, left)));
  }
  return pieces;
}

function quantised(name, rows, columns, salt, stack = []) {
  const count = stack.reduce((product, n) => product * n, 1) * rows * columns;
  const of = (part, dtype, perRow, size, pieces) => ({
    ...{ name: `${name}.${part}`, dtype, shape: [...stack, rows, perRow], size, pieces },
  });
  const parameter = (part) =>
    of(part, 'BF16', columns / 64, count / 32, () => parameters(count / 32));
  return [
    of('weight', 'U32', columns / 8, count / 2, () => repeated(CODES, count / 2, salt)),
    parameter('scales'),
    parameter('biases'),
  ];
}

function norm(name, length) {
  const size = length * 2;
  return {
    name: `${name}.weight`,
    dtype: 'BF16',
    shape: [length],
    size,
    pieces: () => parameters(size),
  };
}

/** As its authors would publish it: BF16, one tensor an expert. */
function originalTensors(shape) {
  const values = normalValues(32 << 20);
  const linear = (name, rows, columns, salt) => {
    const size = rows * columns * 2;
    const pieces = () => repeated(values, size, salt);
    return { name: `${name}.weight`, dtype: 'BF16', shape: [rows, columns], size, pieces };
  };
  const layers = Array.from({ length: shape.layers }, (_, layer) => {
    const prefix = `model.layers.${layer}.`;
    const salt = 1000 * (layer + 1);
    const experts = Array.from({ length: shape.experts }, (_, expert) =>
      expertLinears(shape).map(([name, , rows, columns], i) =>
        linear(
          `${prefix}mlp.experts.${expert}.${name.split('.').at(-1)}`,
          ...[rows, columns, salt + 20 + 3 * expert + i],
        ),
      ),
    );
    return [
      ...layerNorms(shape).map(([name, , length]) => norm(prefix + name, length)),
      ...attentionLinears(shape).map(([name, , rows, columns], i) =>
        linear(prefix + name, rows, columns, salt + i),
      ),
      linear(`${prefix}mlp.gate`, shape.experts, shape.hidden, salt + 10),
      ...experts.flat(),
    ];
  });
  return [
    linear('model.embed_tokens', shape.vocab, shape.hidden, 1),
    ...layers.flat(),
    norm('model.norm', shape.hidden),
    linear('lm_head', shape.vocab, shape.hidden, 2),
  ];
}

function tensorsOf(shape) {
  const layers = Array.from({ length: shape.layers }, (_, layer) => {
    const prefix = `model.layers.${layer}.`;
    const salt = 100 * (layer + 1);
    return [
      ...layerNorms(shape).map(([name, , length]) => norm(prefix + name, length)),
      ...attentionLinears(shape).flatMap(([name, , rows, columns], i) =>
        quantised(prefix + name, rows, columns, salt + i),
      ),
      ...quantised(`${prefix}mlp.gate`, shape.experts, shape.hidden, salt + 10),
      ...expertLinears(shape).flatMap(([name, , rows, columns], i) =>
        quantised(prefix + name, rows, columns, salt + 20 + i, [shape.experts]),
      ),
    ];
  });
  return [
    ...quantised('model.embed_tokens', shape.vocab, shape.hidden, 1),
    ...layers.flat(),
    norm('model.norm', shape.hidden),
    ...quantised('lm_head', shape.vocab, shape.hidden, 2),
  ];
}

function shardOf(path, tensors) {
  let offset = 0;
  const header = { __metadata__: { format: 'mlx' } };
  for (const { name, dtype, shape, size } of tensors) {
    header[name] = { dtype, shape, data_offsets: [offset, offset + size] };
    offset += size;
  }
  const json = Buffer.from(JSON.stringify(header));
  const head = Buffer.alloc(8);
  head.writeBigUInt64LE(BigInt(json.length));
  return fileOf(path, [head, json, ...tensors.flatMap(({ pieces }) => pieces())], true);
}

/** `oid` is git's name of a small file, sha256 the large one's. */
function fileOf(path, pieces, isLarge = false) {
  const hash = createHash('sha256');
  const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
  const blob = createHash('sha1').update(`blob ${length}\0`);
  const starts = [];
  let size = 0;
  for (const piece of pieces) {
    starts.push(size);
    size += piece.length;
    hash.update(piece);
    if (!isLarge) blob.update(piece);
  }
  return {
    path,
    pieces,
    starts,
    size,
    sha256: hash.digest('hex'),
    oid: blob.digest('hex'),
    isLarge,
  };
}

function withoutWidths(config) {
  const isWidth = ([key]) => key.startsWith('quantization');
  return Object.fromEntries(Object.entries(config).filter((entry) => !isWidth(entry)));
}

/** @returns {{path: string, pieces: Buffer[], starts: number[], size: number, sha256: string, oid: string, isLarge: boolean}[]} */
export function makeRepository(gigabytes, isOriginal = false) {
  const wider = isOriginal ? WIDER : 1;
  const shape = benchShape({
    layers: Math.max(1, Math.ceil((gigabytes * 1e9 - 350e6 * wider) / (LAYER_BYTES * wider))),
  });
  const groups = [[]];
  let bytes = 0;
  for (const tensor of isOriginal ? originalTensors(shape) : tensorsOf(shape)) {
    if (bytes + tensor.size > SHARD_BYTES && groups.at(-1).length > 0) {
      groups.push([]);
      bytes = 0;
    }
    groups.at(-1).push(tensor);
    bytes += tensor.size;
  }
  const digits = (n) => String(n).padStart(5, '0');
  const nameOf = (i) => `model-${digits(i + 1)}-of-${digits(groups.length)}.safetensors`;
  const shards = groups.map((tensors, i) => shardOf(nameOf(i), tensors));
  const weight_map = Object.fromEntries(
    groups.flatMap((tensors, i) => tensors.map(({ name }) => [name, nameOf(i)])),
  );
  const total_size = shards.reduce((sum, { size }) => sum + size, 0);
  const json = (path, value) => fileOf(path, [Buffer.from(JSON.stringify(value))]);
  return [
    json('config.json', isOriginal ? withoutWidths(config(shape)) : config(shape)),
    json('model.safetensors.index.json', { metadata: { total_size }, weight_map }),
    // A setup refuses a model that could not talk.
    ...SPEECH.map((name) => fileOf(name, [readFileSync(join(TINY, name))])),
    ...shards,
  ];
}

/** Bytes [start, end) of a file, as views. */
export function* bytesOf({ pieces, starts }, start, end) {
  let [low, high] = [0, starts.length - 1];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (starts[middle] <= start) low = middle;
    else high = middle - 1;
  }
  for (let i = low; i < pieces.length && starts[i] < end; i += 1) {
    const from = Math.max(0, start - starts[i]);
    yield pieces[i].subarray(from, Math.min(pieces[i].length, end - starts[i]));
  }
}
