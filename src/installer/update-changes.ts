// What a newer commit of a repository changes of a finished model: which files are others, and what of the model can stay as it
// is. Pure.

import { basename } from 'node:path';
import type { ModelPaths } from '../base/paths.js';
import type { PackPlan } from '../repack/types.js';
import { hubSideFiles, layerPath, userFiles, type StoredFiles } from '../store/model-files.js';
import type { JournalEntry } from '../store/journal-lines.js';
import type { FileFact, JournalState } from '../store/state.js';

export interface UpdateChanges {
  /** Paths in the repository, of files that the model is made from. */
  changed: string[];
  added: string[];
  gone: string[];
  /** Layers whose files stay as they are, and whether the dense file does. */
  layers: number[];
  dense: boolean;
  /** Where it does not: shards whose dense tensors are the same, if in other places of the file. */
  denseShards: string[];
  /** Tokenizer, template and config files that stay. */
  sideFiles: string[];
}

interface Named {
  path: string;
  size: number;
  sha256: string | null;
  gitSha1?: string | null;
}

export function changesBetween(before: StoredFiles, now: StoredFiles): UpdateChanges {
  const [old, recent] = [filesOf(before), filesOf(now)];
  const isSame = ({ path }: Named): boolean => {
    const [then, since] = [old.get(path), recent.get(path)];
    return then !== undefined && since !== undefined && isSameFile(then, since);
  };
  const inBoth = [...recent.values()].filter(({ path }) => old.has(path));
  const sameShards = new Set(before.pack.shards.filter(isSame).map(({ path }) => path));
  const dense = isSameDense(before.pack, now.pack, sameShards);
  return {
    changed: inBoth.filter((file) => !isSame(file)).map(({ path }) => path),
    added: [...recent.keys()].filter((path) => !old.has(path)),
    gone: [...old.keys()].filter((path) => !recent.has(path)),
    layers: sameLayers(before.pack, now.pack, sameShards),
    dense,
    denseShards: dense ? [] : sameDenseShards(before.pack, now.pack, sameShards),
    sideFiles: hubSideFiles(now)
      .filter(isSame)
      .map(({ path }) => path),
  };
}

function filesOf(files: StoredFiles): Map<string, Named> {
  return new Map([...files.pack.shards, ...hubSideFiles(files)].map((file) => [file.path, file]));
}

/** By the sha256, else by git's hash of the content; two files that nobody hashed are not known to be the same. */
function isSameFile(one: Named, other: Named): boolean {
  if (one.size !== other.size) return false;
  if (one.sha256 !== null && other.sha256 !== null) return one.sha256 === other.sha256;
  return (one.gitSha1 ?? null) !== null && one.gitSha1 === other.gitSha1;
}

/** The same bytes from the same shards in the same places. */
function sameLayers(before: PackPlan, now: PackPlan, shards: ReadonlySet<string>): number[] {
  if (JSON.stringify(before.calibration) !== JSON.stringify(now.calibration)) return [];
  const known = new Map(before.layers.map((layer) => [layer.layer, layer]));
  return now.layers
    .filter((layer) => {
      const old = known.get(layer.layer);
      return (
        old !== undefined &&
        layer.shards.every((shard) => shards.has(shard)) &&
        JSON.stringify({ ...old, layout: before.layouts[old.layout] }) ===
          JSON.stringify({ ...layer, layout: now.layouts[layer.layout] })
      );
    })
    .map(({ layer }) => layer);
}

function isSameDense(before: PackPlan, now: PackPlan, shards: ReadonlySet<string>): boolean {
  return (
    now.dense.entries.every(({ shard }) => shards.has(shard)) &&
    JSON.stringify(before.dense) === JSON.stringify(now.dense)
  );
}

function sameDenseShards(before: PackPlan, now: PackPlan, shards: ReadonlySet<string>): string[] {
  const known = new Map(before.dense.entries.map((entry) => [entry.name, entry]));
  const others = new Set(
    now.dense.entries
      .filter(({ name, shard, sourceOffset, size }) => {
        const old = known.get(name);
        const isThere = old?.shard === shard && old.sourceOffset === sourceOffset;
        return !isThere || old.size !== size || !shards.has(shard);
      })
      .map(({ shard }) => shard),
  );
  const all = new Set(now.dense.entries.map(({ shard }) => shard));
  return [...all].filter((shard) => !others.has(shard));
}

/** Bytes of the old dense file that the new one has, too, and where. */
export function keptDense(
  before: PackPlan,
  now: PackPlan,
  shards: ReadonlySet<string>,
): { from: number; to: number; size: number }[] {
  const known = new Map(before.dense.entries.map((entry) => [entry.name, entry.targetOffset]));
  return now.dense.entries
    .filter(({ shard }) => shards.has(shard))
    .flatMap(({ name, targetOffset: to, size }) => {
      const from = known.get(name);
      return from === undefined ? [] : [{ from, to, size }];
    });
}

/** A file of the old model that is one of the new one, too, and the line that says so in the new one's journal. */
export interface KeptFile {
  fact: FileFact;
  entry: JournalEntry;
}

/** What of the old model is there, by its own journal, and stays. */
export function keptFiles(
  paths: ModelPaths,
  now: StoredFiles,
  state: JournalState,
  changes: UpdateChanges,
): KeptFile[] {
  const { pack } = now;
  const layers = new Set(changes.layers);
  const copied = [...changes.sideFiles, ...userFiles(now).map(({ path }) => path)];
  return [
    ...copied.flatMap((path): KeptFile[] => {
      const fact = state.copied.get(path);
      return fact === undefined ? [] : [{ fact, entry: { step: 'copied', ...bare(fact) } }];
    }),
    ...pack.layers
      .filter(({ layer }) => layers.has(layer))
      .flatMap((plan): KeptFile[] => {
        const fact = state.layers.get(plan.layer);
        if (fact?.file !== layerPath(paths, pack.quant, plan)) return [];
        const errors = [...state.errors.values()].filter(({ layer }) => layer === plan.layer);
        const entry: JournalEntry = { step: 'packed', layer: plan.layer, ...fact };
        return [{ fact, entry: errors.length === 0 ? entry : { ...entry, errors } }];
      }),
    ...(changes.dense && state.denseFile?.file === basename(paths.denseFile)
      ? [
          {
            fact: state.denseFile,
            entry: { step: 'dense-finished' as const, ...state.denseFile },
          },
        ]
      : []),
  ];
}

function bare({ file, bytes, sha256 }: FileFact): Omit<FileFact, 'chain'> {
  return { file, bytes, sha256 };
}
