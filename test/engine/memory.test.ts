import { execFile } from 'node:child_process';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, expect, test, vi } from 'vitest';
import type { EngineInfo } from '../../src/addon/types.js';
import { packDirectory } from '../../src/repack/pack-directory.js';
import { BUILD_MS, buildCli } from '../helpers/built-cli.js';
import { type Checkpoint, type Stored, writeCheckpoint } from '../repack/checkpoint.js';
import { testAddon } from '../repack/fixtures.js';

vi.setConfig({ testTimeout: 120_000 });

const MB = 1_000_000;
/** What a process may take beyond dense weights and state. */
const ALLOWANCE = 150 * MB;
const LAYERS = 4;
const [HIDDEN, WIDTH, VOCAB] = [512, 256, 512];

interface Decoded extends EngineInfo {
  context: number;
  /** Bytes of experts read while decoding. */
  read: number;
  peakBytes: number;
}

beforeAll(buildCli, BUILD_MS);

const config = (experts: number) => ({
  model_type: 'qwen3_moe',
  hidden_size: HIDDEN,
  num_hidden_layers: LAYERS,
  num_attention_heads: 8,
  num_key_value_heads: 2,
  head_dim: 64,
  vocab_size: VOCAB,
  num_experts: experts,
  num_experts_per_tok: 8,
  moe_intermediate_size: WIDTH,
  intermediate_size: WIDTH,
  norm_topk_prob: true,
  rms_norm_eps: 1e-6,
  rope_theta: 1e6,
  max_position_embeddings: 4096,
  quantization: { bits: 4, group_size: 64 },
});

/** Random codes about zero; one block of them serves all tensors, since only bytes and their number matter here. */
function randomModel(experts: number): Checkpoint {
  const codes = new Uint8Array((experts * WIDTH * HIDDEN) / 2);
  let state = 1;
  const draws = new Uint32Array(codes.buffer);
  for (let i = 0; i < draws.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    draws[i] = state ^ (state >>> 15);
  }
  const tensors: Checkpoint = new Map();
  const filled = (half: number, shape: number[]): Stored => {
    const halves = new Uint16Array(shape.reduce((a, b) => a * b)).fill(half);
    return { dtype: 'BF16', shape, bytes: new Uint8Array(halves.buffer) };
  };
  const linear = (module: string, ...shape: number[]) => {
    const columns = shape.at(-1) ?? 0;
    const lead = shape.slice(0, -1);
    const bytes = codes.subarray(0, shape.reduce((a, b) => a * b) / 2);
    tensors.set(`${module}.weight`, { dtype: 'U32', shape: [...lead, columns / 8], bytes });
    // 2^-6, and -7.5 times that.
    tensors.set(`${module}.scales`, filled(0x3c80, [...lead, columns / 64]));
    tensors.set(`${module}.biases`, filled(0xbdf0, [...lead, columns / 64]));
  };
  const norm = (name: string, size: number) =>
    tensors.set(`${name}.weight`, filled(0x3f80, [size]));
  linear('model.embed_tokens', VOCAB, HIDDEN);
  linear('lm_head', VOCAB, HIDDEN);
  norm('model.norm', HIDDEN);
  for (let layer = 0; layer < LAYERS; layer++) {
    const prefix = `model.layers.${layer}`;
    norm(`${prefix}.input_layernorm`, HIDDEN);
    norm(`${prefix}.post_attention_layernorm`, HIDDEN);
    norm(`${prefix}.self_attn.q_norm`, 64);
    norm(`${prefix}.self_attn.k_norm`, 64);
    linear(`${prefix}.self_attn.q_proj`, 512, HIDDEN);
    linear(`${prefix}.self_attn.k_proj`, 128, HIDDEN);
    linear(`${prefix}.self_attn.v_proj`, 128, HIDDEN);
    linear(`${prefix}.self_attn.o_proj`, HIDDEN, 512);
    linear(`${prefix}.mlp.gate`, experts, HIDDEN);
    linear(`${prefix}.mlp.switch_mlp.gate_proj`, experts, WIDTH, HIDDEN);
    linear(`${prefix}.mlp.switch_mlp.up_proj`, experts, WIDTH, HIDDEN);
    linear(`${prefix}.mlp.switch_mlp.down_proj`, experts, HIDDEN, WIDTH);
  }
  return tensors;
}

/** Packs a model of that many experts a layer and decodes with it in a process of its own. */
async function decoded(experts: number): Promise<Decoded & { expertBytes: number }> {
  const dir = await mkdtemp(join(tmpdir(), 'flashmoe-memory-'));
  try {
    const source = join(dir, 'source');
    await writeCheckpoint(source, config(experts), randomModel(experts));
    const options = { addon: testAddon(), quant: '4bit' as const, threads: 2 };
    const { plan, modelDir, expertsDir } = await packDirectory(source, join(dir, 'model'), options);
    await rm(source, { recursive: true });
    const files = plan.layers.map(({ file }) => join(expertsDir, file));
    const sizes = await Promise.all(files.map(async (file) => (await stat(file)).size));
    const program = join(import.meta.dirname, 'decode-process.mjs');
    const size = JSON.stringify({ prompt: 64, decode: 200 });
    const { stdout } = await promisify(execFile)(process.execPath, [
      program,
      modelDir,
      expertsDir,
      size,
    ]);
    const expertBytes = sizes.reduce((sum, bytes) => sum + bytes, 0);
    return { ...(JSON.parse(stdout) as Decoded), expertBytes };
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

const isLinux = process.platform === 'linux';
if (!isLinux) console.log('SKIP the peak of memory: only Linux tells a process its own');
test.runIf(isLinux)(
  'decoding takes dense weights, state and at most 150 MB, however many experts there are',
  async () => {
    const [few, many] = [await decoded(64), await decoded(512)];
    for (const { peakBytes, denseBytes, stateBytes, kvBytesPerToken, context, ...rest } of [
      few,
      many,
    ]) {
      const known = denseBytes + stateBytes + kvBytesPerToken * context;
      const beyond = peakBytes - known;
      const megabytes = (bytes: number) => `${(bytes / MB).toFixed(1)} MB`;
      console.log(
        `experts ${megabytes(rest.expertBytes)} on disk, ${megabytes(rest.read)} read: peak ` +
          `${megabytes(peakBytes)}, ${megabytes(beyond)} beyond dense weights and state`,
      );
      expect(beyond).toBeLessThan(ALLOWANCE);
      // More than there is: whatever kept what it read would have all of it by now.
      expect(rest.read).toBeGreaterThan(rest.expertBytes);
    }
    expect(many.expertBytes).toBeGreaterThan(450 * MB);
    const denser = many.denseBytes - few.denseBytes;
    expect(many.peakBytes - few.peakBytes - denser).toBeLessThan(10 * MB);
  },
);
