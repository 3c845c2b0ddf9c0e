// The bundled model as llama.cpp's converter would have laid it out: codes of 4 bits become Q4_1 blocks, which hold the same
// numbers, all else F32. So that a GGUF model can be asked what is known.

import { readdirSync, readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { packageRoot } from '../../src/base/package-root.js';
import { ggufFile, type Pair, type Tensor } from '../repack/gguf-writer.js';

const TINY = join(packageRoot, 'models', 'tiny');

interface Matrix {
  shape: number[];
  values: Float32Array;
  /** Of groups of 64 codes of 4 bits. */
  codes: { of: Uint8Array; scales: Float32Array; biases: Float32Array } | null;
}

const NAMES: Readonly<Record<string, string>> = {
  ...{ 'model.embed_tokens': 'token_embd', 'model.norm': 'output_norm', lm_head: 'output' },
  ...{ input_layernorm: 'attn_norm', post_attention_layernorm: 'post_attention_norm' },
  ...{ 'self_attn.q_proj': 'attn_q', 'self_attn.k_proj': 'attn_k', 'self_attn.v_proj': 'attn_v' },
  ...{ 'self_attn.o_proj': 'attn_output', 'self_attn.q_norm': 'attn_q_norm' },
  ...{ 'self_attn.k_norm': 'attn_k_norm', 'mlp.gate': 'ffn_gate_inp' },
  ...{ 'mlp.switch_mlp.gate_proj': 'ffn_gate_exps', 'mlp.switch_mlp.up_proj': 'ffn_up_exps' },
  'mlp.switch_mlp.down_proj': 'ffn_down_exps',
  'mlp.shared_expert.gate_proj': 'ffn_gate_shexp',
  'mlp.shared_expert.up_proj': 'ffn_up_shexp',
  'mlp.shared_expert.down_proj': 'ffn_down_shexp',
  'mlp.shared_expert_gate': 'ffn_gate_inp_shexp',
  ...{ 'linear_attn.in_proj_qkv': 'attn_qkv', 'linear_attn.in_proj_z': 'attn_gate' },
  ...{ 'linear_attn.in_proj_b': 'ssm_beta', 'linear_attn.in_proj_a': 'ssm_alpha' },
  ...{ 'linear_attn.conv1d': 'ssm_conv1d', 'linear_attn.norm': 'ssm_norm' },
  'linear_attn.out_proj': 'ssm_out',
};
const WHOLE: Readonly<Record<string, string>> = {
  ...{ 'linear_attn.A_log': 'ssm_a', 'linear_attn.dt_bias': 'ssm_dt.bias' },
};

/** 2 key heads of 64 and 4 value heads of 64: value heads g * 2 + r stand in the order r * 2 + g. */
const ORDER = [0, 2, 1, 3];
const KEYS = 2 * 2 * 64;
const range = (from: number, count: number): number[] =>
  Array.from({ length: count }, (_, i) => from + i);
const tiled = (from: number, each: number): number[] =>
  ORDER.flatMap((head) => range(from + head * each, each));

/** Writes `tiny-Q4_1.gguf` into `folder`. */
export async function writeTinyGguf(folder: string): Promise<void> {
  const tensors = [...readTiny()].map(([name, matrix]): Tensor => {
    const [, layer, below = name] = /^model\.layers\.(\d+)\.(.+)$/.exec(name) ?? [];
    const module = below.replace(/\.weight$/, '');
    const short = WHOLE[below] ?? `${NAMES[module] ?? module}.weight`;
    const turned = asConverted(short, matrix);
    const dims = turned.shape.filter((d, i) => i === 0 || d !== 1).reverse();
    const data = turned.codes === null ? bytesOf(turned.values) : asBlocks(turned.codes);
    const full = layer === undefined ? short : `blk.${layer}.${short}`;
    const type = turned.codes === null ? 0 : 3;
    return { name: full, dims, type, offset: null, bytes: data.length, data };
  });
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'tiny-Q4_1.gguf'), ggufFile({ pairs: metadata(), tensors }));
}

function asConverted(name: string, matrix: Matrix): Matrix {
  switch (name) {
    case 'ssm_a': {
      const rates = { ...matrix, values: matrix.values.map((value) => -Math.exp(value)) };
      return rowsTaken(rates, ORDER);
    }
    case 'ssm_dt.bias':
    case 'ssm_beta.weight':
    case 'ssm_alpha.weight':
      return rowsTaken(matrix, ORDER);
    case 'attn_gate.weight':
      return rowsTaken(matrix, tiled(0, 64));
    case 'attn_qkv.weight':
    case 'ssm_conv1d.weight':
      // Only where the delta net has them: attention of this model has no fused projection.
      return rowsTaken(matrix, [...range(0, KEYS), ...tiled(KEYS, 64)]);
    case 'ssm_out.weight':
      return columnsTaken(matrix, tiled(0, 64));
    default:
      return matrix;
  }
}

function rowsTaken({ shape, values, codes }: Matrix, order: number[]): Matrix {
  const take = <T extends Float32Array | Uint8Array>(from: T): T => {
    const width = from.length / (shape[0] ?? 1);
    const copy = from.slice() as T;
    order.forEach((row, i) => copy.set(from.subarray(row * width, (row + 1) * width), i * width));
    return copy;
  };
  const taken = codes && {
    ...{ of: take(codes.of), scales: take(codes.scales), biases: take(codes.biases) },
  };
  return { shape, values: take(values), codes: taken };
}

/** In whole heads of 64 columns, each a group. */
function columnsTaken({ shape, values, codes }: Matrix, order: number[]): Matrix {
  const columns = shape.at(-1) ?? 0;
  const take = <T extends Float32Array | Uint8Array>(from: T, each: number): T => {
    const width = columns / each;
    return from.map((_, i) => {
      const column = order[(i % width) * each] ?? 0;
      return from[i - (i % width) + Math.floor(column / each)] ?? 0;
    }) as T;
  };
  const own = (from: Uint8Array): Uint8Array =>
    from.map((_, i) => from[i - (i % columns) + (order[i % columns] ?? 0)] ?? 0);
  const taken = codes && {
    ...{ of: own(codes.of), scales: take(codes.scales, 64), biases: take(codes.biases, 64) },
  };
  return { shape, values: take(values, 1), codes: taken };
}

/** Q4_1: two halves a group of 32, scale and least value, then 16 bytes. */
function asBlocks({ of, scales, biases }: NonNullable<Matrix['codes']>): Uint8Array {
  const blocks = of.length / 32;
  const bytes = new Uint8Array(blocks * 20);
  const view = new DataView(bytes.buffer);
  for (let b = 0; b < blocks; b += 1) {
    view.setUint16(b * 20, half(scales[b >> 1] ?? 0), true);
    view.setUint16(b * 20 + 2, half(biases[b >> 1] ?? 0), true);
    for (let j = 0; j < 16; j += 1) {
      bytes[b * 20 + 4 + j] = (of[b * 32 + j] ?? 0) | ((of[b * 32 + 16 + j] ?? 0) << 4);
    }
  }
  return bytes;
}

const float = new Float32Array(1);
const word = new Uint32Array(float.buffer);

/** Numbers with the 8 bits of BF16 are exact in one, unless they are tiny. */
function half(value: number): number {
  float[0] = value;
  const bits = word[0] ?? 0;
  const [sign, exponent] = [(bits >>> 16) & 0x8000, ((bits >>> 23) & 255) - 112];
  if (value === 0) return sign;
  if (exponent <= 0 || exponent > 30) return sign | Math.round(Math.abs(value) * 2 ** 24);
  return sign | (exponent << 10) | ((bits >>> 13) & 0x3ff);
}

function bytesOf(values: Float32Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

/** By manifest name. */
function readTiny(): Map<string, Matrix> {
  interface Raw {
    dtype: string;
    shape: number[];
    bytes: Uint8Array;
  }
  const raw = new Map<string, Raw>();
  for (const file of readdirSync(TINY).filter((name) => name.endsWith('.safetensors'))) {
    const bytes = readFileSync(join(TINY, file));
    const start = 8 + Number(bytes.readBigUInt64LE(0));
    const header = JSON.parse(bytes.toString('utf8', 8, start)) as Record<
      string,
      { dtype: string; shape: number[]; data_offsets: [number, number] }
    >;
    delete header.__metadata__;
    for (const [name, tensor] of Object.entries(header)) {
      const { dtype, shape } = tensor;
      const [from, to] = tensor.data_offsets;
      const own = Uint8Array.from(bytes.subarray(start + from, start + to));
      raw.set(name.replace(/^language_model\./, ''), { dtype, shape, bytes: own });
    }
  }
  const floats = ({ dtype, bytes }: Raw): Float32Array => {
    if (dtype === 'F32') return new Float32Array(bytes.buffer);
    return Float32Array.from(new Uint16Array(bytes.buffer), (value) => {
      word[0] = value << 16;
      return float[0] ?? 0;
    });
  };
  const all = new Map<string, Matrix>();
  for (const [name, tensor] of raw) {
    if (/\.(scales|biases)$/.test(name) || name.includes('mtp.') || name.includes('visual'))
      continue;
    const module = name.replace(/\.weight$/, '');
    const [scales, biases] = ['scales', 'biases'].map((part) => raw.get(`${module}.${part}`));
    if (scales === undefined || biases === undefined) {
      all.set(name, { shape: tensor.shape, values: floats(tensor), codes: null });
      continue;
    }
    const [s, b] = [floats(scales), floats(biases)];
    const groups = scales.shape.at(-1) ?? 1;
    const bits = ((tensor.shape.at(-1) ?? 0) * 32) / (groups * 64);
    const of =
      bits === 8
        ? tensor.bytes
        : Uint8Array.from({ length: tensor.bytes.length * 2 }, (_, i) => {
            return ((tensor.bytes[i >> 1] ?? 0) >> (4 * (i & 1))) & 15;
          });
    const values = Float32Array.from(of, (code, i) => (s[i >> 6] ?? 0) * code + (b[i >> 6] ?? 0));
    const codes = bits === 4 ? { of, scales: s, biases: b } : null;
    all.set(name, { shape: [...tensor.shape.slice(0, -1), groups * 64], values, codes });
  }
  return all;
}

function metadata(): Pair[] {
  const own = (key: string): string => `qwen35moe.${key}`;
  const { model, added_tokens } = JSON.parse(
    readFileSync(join(TINY, 'tokenizer.json'), 'utf8'),
  ) as {
    model: { vocab: Record<string, number>; merges: [string, string][] };
    added_tokens: { id: number; content: string; special: boolean }[];
  };
  const tokens = Array.from({ length: 2048 }, (_, id) => `[PAD${id}]`);
  const types = tokens.map(() => 5);
  for (const [token, id] of Object.entries(model.vocab)) [tokens[id], types[id]] = [token, 1];
  for (const { id, content, special } of added_tokens) {
    [tokens[id], types[id]] = [content, special ? 3 : 4];
  }
  const whole: [string, number][] = [
    ...([
      ['block_count', 8],
      ['context_length', 4096],
      ['embedding_length', 256],
    ] as const),
    ...([
      ['attention.head_count', 8],
      ['attention.key_length', 64],
    ] as const),
    ...([
      ['attention.value_length', 64],
      ['rope.dimension_count', 16],
    ] as const),
    ...([
      ['expert_count', 32],
      ['expert_used_count', 8],
      ['full_attention_interval', 4],
    ] as const),
    ...([
      ['expert_feed_forward_length', 64],
      ['ssm.conv_kernel', 4],
    ] as const),
    ...([
      ['expert_shared_feed_forward_length', 128],
      ['ssm.state_size', 64],
    ] as const),
    ...([
      ['ssm.group_count', 2],
      ['ssm.time_step_rank', 4],
      ['ssm.inner_size', 256],
    ] as const),
  ].map(([key, value]): [string, number] => [key, value]);
  return [
    ['general.architecture', 'string', 'qwen35moe'],
    ['general.type', 'string', 'model'],
    ['general.quantization_version', 'u32', 2],
    ...whole.map(([key, value]): Pair => [own(key), 'u32', value]),
    [own('attention.head_count_kv'), 'numbers', [0, 0, 0, 2, 0, 0, 0, 2]],
    [own('attention.layer_norm_rms_epsilon'), 'f32', 1e-6],
    [own('rope.freq_base'), 'f32', 10_000],
    [own('rope.dimension_sections'), 'numbers', [4, 2, 2, 0]],
    ['tokenizer.ggml.model', 'string', 'gpt2'],
    ['tokenizer.ggml.pre', 'string', 'qwen35'],
    ['tokenizer.ggml.tokens', 'strings', tokens],
    ['tokenizer.ggml.token_type', 'numbers', types],
    ['tokenizer.ggml.merges', 'strings', model.merges.map((pair) => pair.join(' '))],
    ['tokenizer.ggml.eos_token_id', 'u32', 2002],
    ['tokenizer.ggml.eot_token_id', 'u32', 2000],
    ['tokenizer.ggml.bos_token_id', 'u32', 2001],
    ['tokenizer.chat_template', 'string', readFileSync(join(TINY, 'chat_template.jinja'), 'utf8')],
  ];
}
