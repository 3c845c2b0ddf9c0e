// All tensors of a checkpoint: shard headers say what is there. The index says which files to look into, and decides
// between two copies of one tensor; where it says anything else it is stale, which is told and harmless.

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

/** The same where it may be damaged: headers say what is there, so what can't be read at all is told and left out. */
export function indexIn(text: string): { index: Map<string, string> | null; warnings: string[] } {
  try {
    JSON.parse(text);
  } catch {
    const warning = 'model.safetensors.index.json is not JSON; the headers of the shards count';
    return { index: null, warnings: [warning] };
  }
  return { index: parseIndex(text), warnings: [] };
}

/** Files at the root that may hold tensors, sorted. Throws ERR_SAFETENSORS when there is none. */
export function selectShards(files: readonly string[]): string[] {
  const shards = files.filter((file) => SHARD_NAME.test(file)).sort();
  if (shards.length === 0) throw bad('the repository holds no .safetensors file');
  if (shards.length > MAX_SHARDS) throw bad(`the repository has ${shards.length} shards`);
  return shards;
}

/**
 * Reads the header of every shard that counts: with an index those it names, and the others as well where they lack
 * something that it lists. `sources` is all that selectShards found. `warnings` is what is odd but harmless. Throws
 * ERR_SAFETENSORS naming file and tensor.
 */
export async function readInventory(
  sources: readonly ShardSource[],
  index: ReadonlyMap<string, string> | null,
): Promise<{ inventory: Inventory; warnings: string[] }> {
  const mapped = new Set(index?.values());
  const found = new Found(index);
  const named = sources.filter(({ path }) => index === null || mapped.has(path));
  await found.read(named);
  const rest = sources.filter(({ path }) => index !== null && !mapped.has(path));
  if (found.lacks()) await found.read(rest);
  return { inventory: found.inventory(sources), warnings: [...found.warnings, ...found.stale()] };
}

class Found {
  readonly warnings: string[] = [];
  readonly #tensors = new Map<string, SourceTensor>();

  constructor(private readonly index: ReadonlyMap<string, string> | null) {}

  async read(sources: readonly ShardSource[]): Promise<void> {
    for (let i = 0; i < sources.length; i += CONCURRENT_HEADERS) {
      const batch = sources.slice(i, i + CONCURRENT_HEADERS);
      const headers = await Promise.all(batch.map((s) => readHeader(s.read, s.size, s.path)));
      for (const header of headers) {
        this.warnings.push(...header.warnings);
        for (const tensor of header.tensors) this.#add(tensor);
      }
    }
  }

  /** Something that the index lists is in none of the files read so far. */
  lacks(): boolean {
    return [...(this.index?.keys() ?? [])].some((name) => !this.#tensors.has(name));
  }

  inventory(sources: readonly ShardSource[]): Inventory {
    const used = new Set([...this.#tensors.values()].map(({ shard }) => shard));
    const shards = sources
      .filter(({ path }) => used.has(path))
      .map(({ path, size, sha256 }) => ({ path, size, sha256 }));
    // In the order of the files, whichever were read first.
    const at = new Map(sources.map(({ path }, i) => [path, i]));
    const place = ({ shard }: SourceTensor): number => at.get(shard) ?? 0;
    const tensors = new Map([...this.#tensors].sort(([, a], [, b]) => place(a) - place(b)));
    return { shards, tensors };
  }

  /** What the index says and no header confirms, and the other way round. */
  stale(): string[] {
    const { index } = this;
    if (index === null) return [];
    const elsewhere = [...index].filter(([name, shard]) => {
      const tensor = this.#tensors.get(name);
      return tensor !== undefined && tensor.shard !== shard;
    });
    const gone = [...index.keys()].filter((name) => !this.#tensors.has(name));
    const unmapped = [...this.#tensors.keys()].filter((name) => !index.has(name));
    const says = (names: number, what: string): string[] =>
      names === 0 ? [] : [`model.safetensors.index.json is stale: ${names} tensors ${what}`];
    const [first] = elsewhere;
    const example = first && `${first[0]} is in ${this.#tensors.get(first[0])?.shard ?? ''}`;
    return [
      ...says(elsewhere.length, `are in another shard than it says (${example ?? ''})`),
      ...says(gone.length, `are in no shard (${gone[0] ?? ''})`),
      ...(unmapped.length === 0 ? [] : [`${unmapped.length} tensors are missing in the index`]),
    ];
  }

  #add(tensor: SourceTensor): void {
    const other = this.#tensors.get(tensor.name);
    if (other === undefined) {
      this.#tensors.set(tensor.name, tensor);
      return;
    }
    const wanted = this.index?.get(tensor.name);
    if (wanted === tensor.shard) this.#tensors.set(tensor.name, tensor);
    else if (wanted !== other.shard) {
      throw bad(
        `tensor ${JSON.stringify(tensor.name)} is in ${other.shard} and in ${tensor.shard}`,
      );
    }
  }
}

function bad(message: string, cause?: unknown): FlashmoeError {
  return new FlashmoeError('ERR_SAFETENSORS', message, { cause });
}
