// Writes the benchmark model as an MLX-style 4-bit repository (group size 64, BF16 scales).
import { mkdirSync, openSync, writeSync, closeSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { bf16, codes, repeated16, STEP_EXPONENT } from './random-weights.mjs';
import { attentionLinears, expertLinears, layerNorms } from './shape.mjs';

const STEP = 2 ** STEP_EXPONENT;

export function config(shape) {
  const quantization = { group_size: 64, bits: 4, mode: 'affine' };
  return {
    architectures: ['Qwen3MoeForCausalLM'],
    model_type: 'qwen3_moe',
    hidden_size: shape.hidden,
    num_hidden_layers: shape.layers,
    num_attention_heads: shape.heads,
    num_key_value_heads: shape.kvHeads,
    head_dim: shape.headDim,
    attention_bias: false,
    hidden_act: 'silu',
    intermediate_size: 6144,
    moe_intermediate_size: shape.expertWidth,
    num_experts: shape.experts,
    num_experts_per_tok: shape.topK,
    norm_topk_prob: true,
    decoder_sparse_step: 1,
    mlp_only_layers: [],
    max_position_embeddings: shape.context,
    rms_norm_eps: shape.normEps,
    rope_theta: shape.ropeBase,
    rope_scaling: null,
    sliding_window: null,
    use_sliding_window: false,
    tie_word_embeddings: false,
    bos_token_id: 0,
    eos_token_id: shape.vocab - 1,
    vocab_size: shape.vocab,
    torch_dtype: 'bfloat16',
    quantization,
    quantization_config: quantization,
  };
}

/** [name, dtype, shape, byte pieces] of a quantised linear; `stack` puts an expert dimension in front. */
function* quantised(name, rows, columns, salt, stack = []) {
  const count = stack.reduce((product, n) => product * n, 1);
  const groups = count * rows * (columns / 64);
  yield [
    `${name}.weight`,
    'U32',
    [...stack, rows, columns / 8],
    () => codes((count * rows * columns) / 2, salt),
    (count * rows * columns) / 2,
  ];
  yield [
    `${name}.scales`,
    'BF16',
    [...stack, rows, columns / 64],
    () => [repeated16(bf16(STEP), groups)],
    groups * 2,
  ];
  yield [
    `${name}.biases`,
    'BF16',
    [...stack, rows, columns / 64],
    () => [repeated16(bf16(-8 * STEP), groups)],
    groups * 2,
  ];
}

function ones(name, length) {
  return [`${name}.weight`, 'BF16', [length], () => [repeated16(bf16(1), length)], length * 2];
}

function* outerTensors(shape) {
  yield* quantised('model.embed_tokens', shape.vocab, shape.hidden, 1);
  yield* quantised('lm_head', shape.vocab, shape.hidden, 2);
  yield ones('model.norm', shape.hidden);
}

function* layerTensors(shape, layer) {
  const prefix = `model.layers.${layer}.`;
  for (const [name, , length] of layerNorms(shape)) yield ones(prefix + name, length);
  let salt = 100 * (layer + 1);
  for (const [name, , rows, columns] of attentionLinears(shape))
    yield* quantised(prefix + name, rows, columns, salt++);
  yield* quantised(`${prefix}mlp.gate`, shape.experts, shape.hidden, salt++);
  for (const [name, , rows, columns] of expertLinears(shape))
    yield* quantised(prefix + name, rows, columns, salt++, [shape.experts]);
}

function writeShard(path, tensors) {
  const header = { __metadata__: { format: 'mlx' } };
  let offset = 0;
  for (const [name, dtype, tensorShape, , size] of tensors) {
    header[name] = { dtype, shape: tensorShape, data_offsets: [offset, offset + size] };
    offset += size;
  }
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  const file = openSync(path, 'w');
  writeSync(file, Buffer.concat([length, json]));
  for (const [, , , pieces] of tensors) for (const piece of pieces()) writeSync(file, piece);
  closeSync(file);
  return offset;
}

/** Writes config.json, index and one shard per layer (plus one for the outer tensors) into `folder`. */
export function makeSafetensors(shape, folder) {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'config.json'), JSON.stringify(config(shape), null, 2));
  const count = shape.layers + 1;
  const weightMap = {};
  let total = 0;
  for (let shard = 0; shard < count; shard++) {
    const name = `model-${String(shard + 1).padStart(5, '0')}-of-${String(count).padStart(5, '0')}.safetensors`;
    const tensors = [...(shard === 0 ? outerTensors(shape) : layerTensors(shape, shard - 1))];
    total += writeShard(join(folder, name), tensors);
    for (const [tensor] of tensors) weightMap[tensor] = name;
  }
  writeFileSync(
    join(folder, 'model.safetensors.index.json'),
    JSON.stringify({ metadata: { total_size: total }, weight_map: weightMap }),
  );
  return total;
}
