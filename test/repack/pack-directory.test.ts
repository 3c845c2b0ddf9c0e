import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createHash } from 'node:crypto';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { DenseManifest, ExpertsManifest } from '../../src/models/spec.js';
import { packDirectory } from '../../src/repack/pack-directory.js';
import { parseHeader } from '../../src/repack/safetensors.js';
import { FAMILIES, fixture, testAddon } from './fixtures.js';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'flashmoe-pack-'));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

async function json<T>(...path: string[]): Promise<T> {
  return JSON.parse(await readFile(join(...path), 'utf8')) as T;
}

/** tensor → its bytes, read by slicing the shard files. */
async function sourceTensors(folder: string, shards: string[]): Promise<Map<string, Buffer>> {
  const tensors = new Map<string, Buffer>();
  for (const shard of shards) {
    const file = await readFile(join(folder, shard));
    const length = Number(file.readBigUInt64LE(0));
    for (const t of parseHeader(file.subarray(8, 8 + length), file.length, shard).tensors) {
      tensors.set(t.name, file.subarray(t.offset, t.offset + t.size));
    }
  }
  return tensors;
}

test.each(FAMILIES)('every packed byte of %s is its source byte', async (family) => {
  const source = fixture(family);
  const options = { addon: testAddon(), quant: '4bit', threads: 2 } as const;
  const { plan, modelDir, expertsDir } = await packDirectory(source, dir, options);
  const tensors = await sourceTensors(
    source,
    plan.shards.map(({ path }) => path),
  );
  const find = (name: string) => tensors.get(name) ?? tensors.get(`language_model.${name}`);

  const dense = await json<DenseManifest>(modelDir, 'model_weights.json');
  const bytes = await readFile(join(modelDir, 'model_weights.bin'));
  expect(bytes.length).toBe(dense.file_size);
  expect(createHash('sha256').update(bytes).digest('hex')).toBe(dense.sha256);
  let end = 0;
  for (const [name, { offset, size }] of Object.entries(dense.tensors)) {
    expect(offset % 64).toBe(0);
    expect(bytes.subarray(end, offset).every((byte) => byte === 0)).toBe(true);
    expect(bytes.subarray(offset, offset + size).equals(find(name) as Buffer), name).toBe(true);
    end = offset + size;
  }

  const layout = await json<ExpertsManifest>(expertsDir, 'layout.json');
  for (const layer of layout.layers) {
    const file = await readFile(join(expertsDir, layer.file));
    expect(file.length).toBe(layer.size);
    expect(createHash('sha256').update(file).digest('hex')).toBe(layer.sha256);
    const { components, expert_stride, expert_size } = layout.layouts[layer.layout] ?? {
      components: [],
      expert_stride: 0,
      expert_size: 0,
    };
    expect(components).toHaveLength(9);
    for (let e = 0; e < layout.num_experts; e++) {
      for (const { name, offset, size } of components) {
        const at = e * expert_stride + offset;
        const stacked = find(`model.layers.${layer.layer}.mlp.switch_mlp.${name}`) as Buffer;
        const slice = stacked.subarray(e * size, (e + 1) * size);
        expect(file.subarray(at, at + size).equals(slice), `${layer.file} ${e} ${name}`).toBe(true);
      }
      const padding = file.subarray(e * expert_stride + expert_size, (e + 1) * expert_stride);
      expect(padding.every((byte) => byte === 0)).toBe(true);
    }
  }
});
