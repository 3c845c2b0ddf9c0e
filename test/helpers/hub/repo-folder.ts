// A small repository on disk with known bytes: one large LFS shard and one small git file.

import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export const SHARD = 'model-00001-of-00001.safetensors';

export interface RepoFolder {
  folder: string;
  shard: Buffer;
  config: Buffer;
}

/** `bytes` of repeatable noise (xorshift32), so that no two blocks are alike. */
export function noise(bytes: number, seed = 0x9e3779b9): Buffer {
  const words = new Uint32Array(Math.ceil(bytes / 4));
  let state = seed >>> 0;
  for (let i = 0; i < words.length; i += 1) {
    state ^= state << 13;
    state ^= state >>> 17;
    state = (state ^ (state << 5)) >>> 0;
    words[i] = state;
  }
  return Buffer.from(words.buffer, 0, bytes);
}

export async function makeRepoFolder(shardBytes: number): Promise<RepoFolder> {
  const folder = await mkdtemp(join(tmpdir(), 'flashmoe-repo-'));
  const shard = noise(shardBytes);
  const config = Buffer.from(JSON.stringify({ model_type: 'example', hidden_size: 64 }));
  await writeFile(join(folder, SHARD), shard);
  await writeFile(join(folder, 'config.json'), config);
  return { folder, shard, config };
}
