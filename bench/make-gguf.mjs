// Writes the same shape as a GGUF file (version 3). Q4_0 takes 4.5 bits a weight as our format does, and llama.cpp has
// its fastest CPU kernels for it, but copies it into memory in another order; Q4_1 (5 bits) is used as it is mapped.
// Format: ggml-org/ggml docs/gguf.md.
import { closeSync, openSync, writeSync } from 'node:fs';
import { codes, f16PowerOfTwo, STEP_EXPONENT } from './random-weights.mjs';
import { attentionLinears, expertLinears, layerNorms } from './shape.mjs';

const ALIGNMENT = 32;
const F32 = 0;
/** ggml type number, bytes of a block of 32 weights, its 16-bit parameters. */
const QUANTS = {
  q4_0: { type: 2, blockBytes: 18, parameters: [f16PowerOfTwo(STEP_EXPONENT)] },
  q4_1: {
    type: 3,
    blockBytes: 20,
    parameters: [f16PowerOfTwo(STEP_EXPONENT), 0x8000 | f16PowerOfTwo(STEP_EXPONENT + 3)],
  },
};
const TYPE = { u32: 4, i32: 5, f32: 6, string: 8, array: 9 };

class Bytes {
  pieces = [];
  length = 0;
  add(buffer) {
    this.pieces.push(buffer);
    this.length += buffer.length;
    return this;
  }
  u32(value) {
    const b = Buffer.alloc(4);
    b.writeUInt32LE(value);
    return this.add(b);
  }
  f32(value) {
    const b = Buffer.alloc(4);
    b.writeFloatLE(value);
    return this.add(b);
  }
  u64(value) {
    const b = Buffer.alloc(8);
    b.writeBigUInt64LE(BigInt(value));
    return this.add(b);
  }
  string(text) {
    const b = Buffer.from(text);
    return this.u64(b.length).add(b);
  }
}

function metadata(shape, quant) {
  const arch = 'qwen3moe';
  // Byte tokens first, then names: prompts are token ids, so only the count matters.
  const tokens = Array.from({ length: shape.vocab }, (_, id) =>
    id < 256 ? byteToken(id) : `t${id}`,
  );
  return [
    ['general.architecture', 'string', arch],
    ['general.name', 'string', 'random benchmark model'],
    ['general.file_type', 'u32', quant.type],
    ['general.quantization_version', 'u32', 2],
    [`${arch}.block_count`, 'u32', shape.layers],
    [`${arch}.context_length`, 'u32', shape.context],
    [`${arch}.embedding_length`, 'u32', shape.hidden],
    [`${arch}.feed_forward_length`, 'u32', 6144],
    [`${arch}.attention.head_count`, 'u32', shape.heads],
    [`${arch}.attention.head_count_kv`, 'u32', shape.kvHeads],
    [`${arch}.attention.key_length`, 'u32', shape.headDim],
    [`${arch}.attention.value_length`, 'u32', shape.headDim],
    [`${arch}.attention.layer_norm_rms_epsilon`, 'f32', shape.normEps],
    [`${arch}.rope.freq_base`, 'f32', shape.ropeBase],
    [`${arch}.expert_count`, 'u32', shape.experts],
    [`${arch}.expert_used_count`, 'u32', shape.topK],
    [`${arch}.expert_feed_forward_length`, 'u32', shape.expertWidth],
    ['tokenizer.ggml.model', 'string', 'gpt2'],
    ['tokenizer.ggml.pre', 'string', 'qwen2'],
    ['tokenizer.ggml.tokens', 'strings', tokens],
    ['tokenizer.ggml.token_type', 'i32s', new Int32Array(shape.vocab).fill(1)],
    ['tokenizer.ggml.merges', 'strings', ['a b']],
    ['tokenizer.ggml.eos_token_id', 'u32', shape.vocab - 1],
  ];
}

/** GPT-2's printable stand-in for a byte. */
function byteToken(byte) {
  const printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  if (printable) return String.fromCodePoint(byte);
  let shift = 0;
  for (let b = 0; b < byte; b++)
    if (!((b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174)) shift++;
  return String.fromCodePoint(256 + shift);
}

function writeValue(out, type, value) {
  if (type === 'strings') {
    out.u32(TYPE.array).u32(TYPE.string).u64(value.length);
    for (const text of value) out.string(text);
  } else if (type === 'i32s') {
    out.u32(TYPE.array).u32(TYPE.i32).u64(value.length).add(Buffer.from(value.buffer));
  } else if (type === 'string') out.u32(TYPE.string).string(value);
  else if (type === 'f32') out.u32(TYPE.f32).f32(value);
  else out.u32(TYPE.u32).u32(value);
}

/** Yields [name, dimensions with the inner one first, quant or null for f32, salt]. */
function* tensors(shape, quant) {
  yield ['token_embd.weight', [shape.hidden, shape.vocab], quant, 1];
  yield ['output.weight', [shape.hidden, shape.vocab], quant, 2];
  yield ['output_norm.weight', [shape.hidden], null, 0];
  for (let layer = 0; layer < shape.layers; layer++) {
    const prefix = `blk.${layer}.`;
    for (const [, name, length] of layerNorms(shape))
      yield [`${prefix}${name}.weight`, [length], null, 0];
    let salt = 100 * (layer + 1);
    for (const [, name, rows, columns] of attentionLinears(shape))
      yield [`${prefix}${name}.weight`, [columns, rows], quant, salt++];
    yield [`${prefix}ffn_gate_inp.weight`, [shape.hidden, shape.experts], null, salt++];
    for (const [, name, rows, columns] of expertLinears(shape))
      yield [`${prefix}${name}.weight`, [columns, rows, shape.experts], quant, salt++];
  }
}

function byteSize(dimensions, quant) {
  const values = dimensions.reduce((product, n) => product * n, 1);
  return quant === null ? values * 4 : (values / 32) * quant.blockBytes;
}

/** Blocks of parameters, then 16 bytes of codes. */
function* blocks(quant, size, salt) {
  const chunk = Buffer.alloc(Math.min(size, quant.blockBytes << 20));
  let filled = 0;
  for (const piece of codes(chunk.length, salt)) filled += piece.copy(chunk, filled);
  for (let at = 0; at < chunk.length; at += quant.blockBytes) {
    quant.parameters.forEach((word, index) => chunk.writeUInt16LE(word, at + 2 * index));
  }
  for (let left = size; left > 0; left -= chunk.length)
    yield left < chunk.length ? chunk.subarray(0, left) : chunk;
}

function f32Data(name, dimensions) {
  const count = dimensions.reduce((product, n) => product * n, 1);
  const values = new Float32Array(count);
  if (!name.includes('gate_inp')) values.fill(1);
  else for (let i = 0; i < count; i++) values[i] = (Math.random() - 0.5) * 0.06;
  return Buffer.from(values.buffer);
}

/** @returns bytes of tensor data written to `path` */
export function makeGguf(shape, path, quantName) {
  const quant = QUANTS[quantName];
  const entries = [...tensors(shape, quant)];
  const pairs = metadata(shape, quant);
  const head = new Bytes().add(Buffer.from('GGUF')).u32(3).u64(entries.length).u64(pairs.length);
  for (const [key, type, value] of pairs) {
    head.string(key);
    writeValue(head, type, value);
  }
  let offset = 0;
  for (const [name, dimensions, kind] of entries) {
    head.string(name).u32(dimensions.length);
    for (const n of dimensions) head.u64(n);
    head.u32(kind?.type ?? F32).u64(offset);
    offset += Math.ceil(byteSize(dimensions, kind) / ALIGNMENT) * ALIGNMENT;
  }
  const padding = (n) => Buffer.alloc((ALIGNMENT - (n % ALIGNMENT)) % ALIGNMENT);
  head.add(padding(head.length));

  const file = openSync(path, 'w');
  for (const piece of head.pieces) writeSync(file, piece);
  for (const [name, dimensions, kind, salt] of entries) {
    const size = byteSize(dimensions, kind);
    if (kind === null) writeSync(file, f32Data(name, dimensions));
    else for (const piece of blocks(kind, size, salt)) writeSync(file, piece);
    writeSync(file, padding(size));
  }
  closeSync(file);
  return offset;
}
