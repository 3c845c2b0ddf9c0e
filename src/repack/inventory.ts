// All tensors of a checkpoint: shard headers are the truth, the index is checked against them. This folder
// owns everything between safetensors and the packed model and never touches the network.

import { FlashmoeError } from '../base/errors.js';
import { isRecord } from '../models/config.js';
import { jsonViolation } from './header-json.js';
import { readHeader } from './safetensors.js';
import type { Inventory, ReadRange, ShardInfo, SourceTensor } from './types.js';

/** Headers read at the same time; each is two small requests when the shard is remote. */
const CONCURRENT_HEADERS = 8;
const MAX_SHARDS = 10_000;

/** A plain file name: it becomes a path later. */
const SHARD_NAME = /^(?!\.)[A-Za-z0-9._-]{1,200}\.safetensors$/;

export interface ShardSource extends ShardInfo {
  read: ReadRange;
}

/** tensor → shard, from model.safetensors.index.json. Throws ERR_SAFETENSORS. */
export function parseIndex(text: string): Map<string, string> {
  const violation = jsonViolation(text, { depth: 3, entries: 1000 });
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw bad('model.safetensors.index.json is not JSON', cause);
  }
  const map = isRecord(json) ? json.weight_map : undefined;
  if (violation !== null || !isRecord(map)) {
    throw bad(`model.safetensors.index.json: ${violation ?? 'weight_map is missing'}`);
  }
  const entries = Object.entries(map).map(([tensor, shard]): [string, string] => {
    if (typeof shard !== 'string' || !SHARD_NAME.test(shard)) {
      throw bad(
        `model.safetensors.index.json: ${JSON.stringify(tensor).slice(0, 200)} is mapped to ` +
          `${JSON.stringify(shard)?.slice(0, 200)}, which is no plain shard name`,
      );
    }
    return [tensor, shard];
  });
  return new Map(entries);
}

/**
 * The shards of a repository among its file names, sorted. With an index exactly those it maps to; else
 * every .safetensors at the root. Throws ERR_SAFETENSORS when one is missing or there is none.
 */
export function selectShards(
  files: readonly string[],
  index: ReadonlyMap<string, string> | null,
): string[] {
  const present = new Set(files);
  const wanted =
    index === null ? files.filter((file) => SHARD_NAME.test(file)) : new Set(index.values());
  const shards = [...wanted].sort();
  if (shards.length === 0) throw bad('the repository holds no .safetensors file');
  if (shards.length > MAX_SHARDS) throw bad(`the repository has ${shards.length} shards`);
  const missing = shards.filter((shard) => !present.has(shard));
  if (missing.length > 0) {
    throw bad(`the index names shards that the repository does not hold: ${missing.join(', ')}`);
  }
  return shards;
}

/** Reads every header. `warnings` is what is odd but harmless. Throws ERR_SAFETENSORS naming file and tensor. */
export async function readInventory(
  sources: readonly ShardSource[],
  index: ReadonlyMap<string, string> | null,
): Promise<{ inventory: Inventory; warnings: string[] }> {
  const tensors = new Map<string, SourceTensor>();
  const warnings: string[] = [];
  for (let i = 0; i < sources.length; i += CONCURRENT_HEADERS) {
    const batch = sources.slice(i, i + CONCURRENT_HEADERS);
    const headers = await Promise.all(batch.map((s) => readHeader(s.read, s.size, s.path)));
    for (const header of headers) {
      warnings.push(...header.warnings);
      for (const tensor of header.tensors) addOnce(tensors, tensor);
    }
  }
  if (index !== null) warnings.push(...checkIndex(index, tensors));
  const shards = sources.map(({ path, size, sha256 }) => ({ path, size, sha256 }));
  return { inventory: { shards, tensors }, warnings };
}

function addOnce(tensors: Map<string, SourceTensor>, tensor: SourceTensor): void {
  const other = tensors.get(tensor.name);
  if (other !== undefined) {
    throw bad(`tensor ${JSON.stringify(tensor.name)} is in ${other.shard} and in ${tensor.shard}`);
  }
  tensors.set(tensor.name, tensor);
}

function checkIndex(
  index: ReadonlyMap<string, string>,
  tensors: ReadonlyMap<string, SourceTensor>,
): string[] {
  for (const [name, shard] of index) {
    const found = tensors.get(name)?.shard;
    if (found !== shard) {
      throw bad(
        `the index says tensor ${JSON.stringify(name)} is in ${shard}, ` +
          (found === undefined ? 'but no shard holds it' : `but it is in ${found}`),
      );
    }
  }
  const unmapped = tensors.size - index.size;
  return unmapped === 0 ? [] : [`${unmapped} tensors are missing in the index`];
}

function bad(message: string, cause?: unknown): FlashmoeError {
  return new FlashmoeError('ERR_SAFETENSORS', message, { cause });
}
