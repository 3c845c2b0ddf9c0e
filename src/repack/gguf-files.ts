// Which GGUF files of a repository make one model, and what their headers say together.

import { FlashmoeError } from '../base/errors.js';
import { GgufMetadata } from '../models/gguf/metadata.js';
import { type GgufHeader, readGguf } from './gguf.js';
import type { ShardSource } from './inventory.js';
import type { Inventory, SourceTensor } from './types.js';

const PART = /^(.*)-(\d{5})-of-(\d{5})\.gguf$/i;
/** Beside models: image encoders, and what quantising was weighed by. */
const OTHERS = /(^|\/)(mmproj|imatrix)[^/]*$|imatrix[^/]*\.gguf$/i;
const MOST_PARTS = 1_000;
const CONCURRENT_HEADERS = 4;
/** Names in a message. */
const SHOWN = 12;

/**
 * Files of one model out of a listing, in their order; null where the listing has none. `pattern` has `*` and `?`, is compared
 * without regard to case, with the whole path or the name of the file, and may name one part of several. Throws ERR_USAGE with
 * what is there, where it is several models or none.
 */
export function chooseGguf(paths: readonly string[], pattern: string | null): string[] | null {
  const files = paths.filter((path) => /\.gguf$/i.test(path)).sort();
  if (pattern === null && files.length === 0) return null;
  const matches = pattern === null ? (path: string) => !OTHERS.test(path) : matcher(pattern);
  const found = files.filter(matches);
  const models = new Map<string, string[]>();
  for (const path of found) {
    const [, prefix, , count] = PART.exec(path) ?? [];
    const key = prefix === undefined ? path : `${prefix}-of-${count}`;
    models.set(key, prefix === undefined ? [path] : partsOf(path, files));
  }
  const [parts, another] = models.values();
  if (parts !== undefined && another === undefined) return parts;
  throw several(pattern, files, models.size);
}

function matcher(pattern: string): (path: string) => boolean {
  const text = pattern.replace(/[.+^${}()|[\]\\]/g, '\\$&');
  const whole = new RegExp(`^${text.replace(/\*+/g, '.*').replace(/\?/g, '.')}$`, 'i');
  return (path) => whole.test(path) || whole.test(path.slice(path.lastIndexOf('/') + 1));
}

/** All parts of the model that `path` is one of. */
function partsOf(path: string, files: readonly string[]): string[] {
  const [, prefix = '', , digits = ''] = PART.exec(path) ?? [];
  const count = Number(digits);
  const there = files.filter((file) => {
    const [, own, , of] = PART.exec(file) ?? [];
    return own === prefix && of === digits;
  });
  if (count >= 1 && count <= MOST_PARTS && there.length === count) return there;
  throw new FlashmoeError(
    'ERR_GGUF',
    `${path} is one of ${count} parts, and ${there.length} of them are there`,
    { subject: path, hint: 'fetch the missing parts, or choose another file with --file' },
  );
}

function several(pattern: string | null, files: readonly string[], models: number): FlashmoeError {
  const first = files.filter((file) => (PART.exec(file)?.[2] ?? '00001') === '00001');
  const shown = first.slice(0, SHOWN).join(', ');
  const more = first.length > SHOWN ? ` and ${first.length - SHOWN} more` : '';
  const what =
    pattern === null
      ? 'there are several GGUF files'
      : `--file ${JSON.stringify(pattern)} fits ${models === 0 ? 'no GGUF file' : `${models} models`}`;
  const there = shown === '' ? 'there is none' : `there are ${shown}${more}`;
  return new FlashmoeError(
    'ERR_USAGE',
    pattern === null ? `${what}: ${shown}${more}` : `${what}; ${there}`,
    { subject: '--file', hint: "say which one: --file '*Q4_K_M*'" },
  );
}

export interface GgufModelFiles {
  /** Of the first file. */
  metadata: GgufMetadata;
  /** By the file's own names; `dtype` is the type as GGUF calls it. */
  inventory: Inventory;
}

/** Reads the headers of all files of one model, in their order. Throws ERR_GGUF naming file and tensor. */
export async function readGgufFiles(sources: readonly ShardSource[]): Promise<GgufModelFiles> {
  const headers: GgufHeader[] = [];
  for (let i = 0; i < sources.length; i += CONCURRENT_HEADERS) {
    const batch = sources.slice(i, i + CONCURRENT_HEADERS);
    headers.push(...(await Promise.all(batch.map((s) => readGguf(s.read, s.size, s.path)))));
  }
  const [first] = headers;
  if (first === undefined) throw bad('there', 'is no GGUF file');
  const tensors = new Map<string, SourceTensor>();
  headers.forEach((header, index) => {
    const shard = sources[index]?.path ?? '';
    requirePart(new GgufMetadata(header.metadata), index, sources.length, shard);
    for (const { name, type, shape, offset, size } of header.tensors) {
      if (tensors.has(name)) {
        throw bad(shard, `has tensor ${JSON.stringify(name)}, as ${tensors.get(name)?.shard} does`);
      }
      tensors.set(name, { name, dtype: type, shape, shard, offset, size });
    }
  });
  const metadata = new GgufMetadata(first.metadata);
  const all = metadata.whole('split.tensors.count', tensors.size);
  if (all !== tensors.size) {
    throw bad(
      sources[0]?.path ?? '',
      `says ${all} tensors in all parts, there are ${tensors.size}`,
    );
  }
  const shards = sources.map(({ path, size, sha256 }) => ({ path, size, sha256 }));
  return { metadata, inventory: { shards, tensors } };
}

/** What a part says of itself against its place. */
function requirePart(metadata: GgufMetadata, index: number, count: number, file: string): void {
  const [no, of] = [metadata.whole('split.no', 0), metadata.whole('split.count', 1)];
  // Some writers leave 0 in a file that is whole.
  if (Math.max(of, 1) !== count) throw bad(file, `is one of ${of} parts, not of ${count}`);
  if (no !== index) throw bad(file, `is part ${no + 1}, in the place of part ${index + 1}`);
}

function bad(file: string, problem: string): FlashmoeError {
  return new FlashmoeError('ERR_GGUF', `${file}: ${problem}`, { subject: file });
}
