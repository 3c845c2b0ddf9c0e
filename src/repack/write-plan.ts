// Everything that has to be fetched, in the one order in which it is used: the write plan of docs/provisioning.md.
// Pure: a plan and what is done already in, items for the addon and ranges for the hub out.

import { createHash } from 'node:crypto';
import type { PackProjection, WriteItem, WritePlace, WritePosition } from '../addon/types.js';
import { type Part, PARTS } from '../models/names.js';
import { type ExpertRun, expertRuns } from './expert-places.js';
import type { Conversion, LayerPlan, PackPlan, SourcePiece } from './types.js';

export type WritePlanFile =
  | { kind: 'dense'; size: number }
  | { kind: 'layer'; layer: number; size: number }
  /** Parameters that wait for their codes, or for their turn in the hash. */
  | { kind: 'scratch'; name: string; size: number };

/** Neighbouring bytes of one shard that are neighbours in the write plan, too. */
export interface SourceRun {
  shard: string;
  /** Of the shard. */
  start: number;
  end: number;
  /** Position of `start` in the write plan. */
  at: number;
}

/** One shard from its first byte to its seal. */
export interface ShardPass {
  shard: string;
  /** Where it begins. */
  at: number;
  item: number;
  /** Position of its seal: every byte of the shard has passed before it. */
  end: number;
  /** The pass in which the first bytes of this shard are fetched: where a wrong digest leads back to. */
  rewindTo: number;
}

/** Nothing can need a scratch file any more once every item before `item` is done. */
export interface Release {
  file: number;
  item: number;
}

export interface WritePlan {
  /** `file` numbers are indices into `files`. */
  items: WriteItem[];
  files: WritePlanFile[];
  runs: SourceRun[];
  passes: ShardPass[];
  /** In the order of their items. */
  releases: Release[];
  length: number;
  /** sha256 in hex over all of it: positions mean the same on write plans with the same one. */
  fingerprint: string;
}

/** What is on disk under its final name already. */
export interface WritePlanBasis {
  layers: ReadonlySet<number>;
  dense: boolean;
  /** While the dense file is not: shards whose tensors are in its partial file already. Absent: none. */
  denseShards?: ReadonlySet<string>;
}

export type WritePlanInput = Pick<PackPlan, 'shards' | 'order' | 'dense' | 'layers' | 'layouts'>;

/** State of a sha256 that has seen nothing. */
export const FRESH_HASH =
  '6a09e667bb67ae853c6ef372a54ff53a510e527f9b05688c1f83d9ab5be0cd19' + '0'.repeat(16 + 128);

export function beginningOf({ at, item }: Pick<ShardPass, 'at' | 'item'>): WritePosition {
  return { at, item, hash: FRESH_HASH };
}

/** The write plan through every shard that something still to be made needs, in the plan's order. */
export function buildWritePlan(plan: WritePlanInput, done: WritePlanBasis): WritePlan {
  const layers = plan.layers.filter(({ layer }) => !done.layers.has(layer));
  const dense = done.dense
    ? []
    : plan.dense.entries.filter(({ shard }) => done.denseShards?.has(shard) !== true);
  const needed = new Set([...layers.flatMap(({ shards }) => shards), ...dense.map((e) => e.shard)]);
  const order = plan.order.filter((shard) => needed.has(shard));
  const builder = new Builder(plan, order);
  for (const entry of dense) if (entry.made === undefined) builder.dense(entry);
  if (!done.dense) builder.denseConversions(plan.dense.conversions ?? []);
  for (const layer of layers) builder.layer(layer);
  return builder.build();
}

interface Segment {
  start: number;
  size: number;
  /** Emits the items of these bytes when the pass reaches them. */
  emit: () => void;
}

/** A projection of a layer that is being planned, and the runs of the layer's experts. */
interface ProjectionOf {
  layer: LayerPlan;
  index: number;
  projection: PackProjection;
  file: number;
  runs: readonly ExpertRun[];
}

/** Of a tensor: where its bytes go by themselves; null: to the scratch file. */
interface Stretch {
  from: number;
  size: number;
  place: WritePlace | null;
}

/** Where the bytes of a run's part go as they are. */
function spreadOf(of: ProjectionOf, part: Part, { offset, stride, isKept }: ExpertRun): WritePlace {
  const { layer, index, projection, file } = of;
  const slice = (projection[part]?.size ?? 0) / layer.experts;
  const { targetOffsets } = (isKept ? layer.kept?.projections[index] : projection) ?? projection;
  const target = offset + (targetOffsets[part] ?? 0);
  return { kind: 'spread', file, from: 0, slice, offset: target, stride };
}

class Builder {
  readonly #plan: WritePlanInput;
  readonly #passOf: ReadonlyMap<string, number>;
  readonly #order: readonly string[];
  readonly #segments: Segment[][];
  readonly #items: WriteItem[] = [];
  readonly #files: WritePlanFile[] = [];
  readonly #runs: SourceRun[] = [];
  /** Scratch file → the passes that fetch and last read it, and the item behind its last use. */
  readonly #uses = new Map<number, { fetched: number; lastUse: number; item: number }>();
  /** Pass → earliest pass that fetches bytes of its shard. */
  readonly #rewind: number[];
  #denseFile: number | null = null;
  #length = 0;

  constructor(plan: WritePlanInput, order: readonly string[]) {
    this.#plan = plan;
    this.#order = order;
    this.#passOf = new Map(order.map((shard, index) => [shard, index]));
    this.#segments = order.map(() => []);
    this.#rewind = order.map((_, index) => index);
  }

  dense(entry: PackPlan['dense']['entries'][number]): void {
    this.#denseFile ??= this.#file({ kind: 'dense', size: this.#plan.dense.size });
    const place: WritePlace = { kind: 'copy', file: this.#denseFile, offset: entry.targetOffset };
    this.#segment(entry.shard, entry.sourceOffset, entry.size, () => {
      this.#bytes(entry.shard, entry.sourceOffset, entry.size, true, place);
    });
  }

  denseConversions(conversions: readonly Conversion[]): void {
    const { size } = this.#plan.dense;
    conversions.forEach((conversion, index) => {
      this.#denseFile ??= this.#file({ kind: 'dense', size });
      this.#converted(conversion, this.#denseFile, size, `params-dense-${index}-scales`);
    });
  }

  layer(layer: LayerPlan): void {
    const file = this.#file({ kind: 'layer', layer: layer.layer, size: layer.size });
    const stride = this.#plan.layouts[layer.layout]?.expert_stride ?? 0;
    layer.conversions?.forEach((conversion, index) => {
      this.#converted(conversion, file, stride, `params-${layer.layer}-${index}-scales`);
    });
    const runs = expertRuns(this.#plan, layer);
    layer.projections.forEach((projection, index) => {
      const of: ProjectionOf = { layer, index, projection, file, runs };
      if (projection.sourceBits !== projection.targetBits) {
        this.#requantised(of);
        // A bias stays as it is.
        this.#spread(of, 'bias');
        return;
      }
      for (const part of PARTS) this.#spread(of, part);
    });
  }

  build(): WritePlan {
    const sizes = new Map(
      this.#plan.shards.map(({ path, size, sha256 }) => [path, { size, sha256 }]),
    );
    const passes = this.#order.map((shard, index): ShardPass => {
      const { size = 0, sha256 = '' } = sizes.get(shard) ?? {};
      const [at, item] = [this.#length, this.#items.length];
      let reached = 0;
      for (const segment of (this.#segments[index] ?? []).sort((a, b) => a.start - b.start)) {
        this.#drop(shard, reached, segment.start);
        segment.emit();
        reached = segment.start + segment.size;
      }
      this.#drop(shard, reached, size);
      this.#items.push({ type: 'seal', sha256 });
      return { shard, at, item, end: this.#length, rewindTo: index };
    });
    for (const [index, pass] of passes.entries()) pass.rewindTo = this.#rewind[index] ?? index;
    const releases = [...this.#uses].map(([file, use]): Release => {
      // A repeated pass fetches what it fetched before; only what came earlier must still be there.
      if (use.fetched === use.lastUse) return { file, item: use.item };
      const last = passes.findLastIndex(({ rewindTo }) => rewindTo <= use.lastUse);
      return { file, item: passes[last + 1]?.item ?? this.#items.length };
    });
    releases.sort((a, b) => a.item - b.item);
    const [items, files, runs, length] = [this.#items, this.#files, this.#runs, this.#length];
    const text = JSON.stringify([items, files, runs]);
    const fingerprint = createHash('sha256').update(text).digest('hex');
    return { items, files, runs, passes, releases, length, fingerprint };
  }

  /** One part of a projection, expert by expert to its places. */
  #spread(of: ProjectionOf, part: Part): void {
    const tensor = of.projection[part];
    if (tensor === null || tensor === undefined) return;
    const { source, offset, size } = tensor;
    const slice = size / of.layer.experts;
    this.#segment(source, offset, size, () => {
      for (const run of of.runs) {
        const start = offset + run.first * slice;
        this.#bytes(source, start, run.count * slice, true, spreadOf(of, part, run));
      }
    });
  }

  /** Codes that become narrower need their scales and biases first, wherever these lie. */
  #requantised(of: ProjectionOf): void {
    const { layer, projection, file, runs } = of;
    const { weight, scales, biases, sourceBits: bits, groupSize, targetOffsets } = projection;
    const { columns, importance, targetBits } = projection;
    if (scales === null || biases === null) throw new RangeError('codes without parameters');
    const ahead: (() => void)[] = [];
    const scratch = (['scales', 'biases'] as const).map((part) =>
      this.#parameters(of, part, ahead),
    );
    const [scalesFile = 0, biasesFile = 0] = scratch;
    const slice = weight.size / layer.experts;
    const place = ({ first, stride, offset }: ExpertRun): WritePlace => ({
      ...{ kind: 'requantise', file, from: first * slice, slice, stride },
      ...{ bits, groupSize, dtype: scales.dtype as 'BF16' | 'F16' | 'F32' },
      ...{ scales: scalesFile, biases: biasesFile, offsets: targetOffsets },
      // Left away where it is 2, so that a setup that began before there were others goes on.
      ...(targetBits === 2 ? {} : { targetBits }),
      ...(offset === first * stride ? {} : { base: offset - first * stride }),
      ...(importance === undefined
        ? {}
        : { columns, importance: { offset: importance.offset, stride: importance.stride } }),
    });
    this.#segment(weight.source, weight.offset, weight.size, () => {
      for (const fetch of ahead) fetch();
      for (const run of runs) {
        const to = run.isKept ? spreadOf(of, 'weight', run) : place(run);
        this.#bytes(weight.source, weight.offset + run.first * slice, run.count * slice, true, to);
      }
      for (const used of scratch) this.#used(used);
    });
  }

  /** Matrices in another form: each piece when the pass comes by, its own scales first. */
  #converted(conversion: Conversion, file: number, stride: number, name: string): void {
    const { pieces, slice, unit, encoding, columns, scales, ways } = conversion;
    const turns = unit === undefined ? {} : { unit };
    let place: (from: number) => WritePlace;
    let scratch: number | null = null;
    if (encoding === null) {
      const [first, second] = ways.map(({ offsets }) => offsets.weight);
      const offsets = { offset: first ?? 0, ...(second === undefined ? {} : { second }) };
      place = (from) => ({ kind: 'spread', file, from, slice, stride, ...offsets, ...turns });
    } else {
      const { likeMlx, exact, plain } = conversion;
      if (scales !== null) {
        const size = scales.pieces.reduce((sum, piece) => sum + piece.size, 0);
        scratch = this.#file({ kind: 'scratch', name, size });
      }
      const own =
        scales === null || scratch === null
          ? null
          : {
              ...{ file: scratch, stride: scales.slice },
              ...{ groupSize: scales.groupSize, dtype: scales.dtype },
            };
      const fixed = { encoding, columns, scales: own, likeMlx, exact, plain, ways, ...turns };
      place = (from) => ({ kind: 'convert', file, from, slice, stride, ...fixed });
    }
    pieces.forEach((piece, index) => {
      const ahead: (() => void)[] = [];
      const needed = scales?.pieces[index];
      if (scratch !== null && needed !== undefined) {
        this.#scratched(scratch, piece, needed, ahead);
      }
      const { shard, offset, size, at } = piece;
      this.#segment(shard, offset, size, () => {
        for (const fetch of ahead) fetch();
        this.#bytes(shard, offset, size, true, place(at));
        if (scratch !== null) this.#used(scratch);
      });
    });
  }

  /**
   * Gives parameters a scratch file: filled when the pass comes by, or ahead of it and then recalled. Those of experts that
   * are kept go to their place.
   */
  #parameters(of: ProjectionOf, part: 'scales' | 'biases', ahead: (() => void)[]): number {
    const { layer, index, projection, runs } = of;
    const { weight: codes, [part]: tensor } = projection;
    if (tensor === null) throw new RangeError('codes without parameters');
    const { source, offset, size } = tensor;
    const name = `params-${layer.layer}-${index}-${part}`;
    const file = this.#file({ kind: 'scratch', name, size });
    const own = { shard: codes.source, offset: codes.offset };
    const slice = size / layer.experts;
    const stretches = runs.map((run) => ({
      from: run.first * slice,
      size: run.count * slice,
      place: run.isKept ? spreadOf(of, part, run) : null,
    }));
    this.#scratched(file, own, { shard: source, offset, size, at: 0 }, ahead, stretches);
    return file;
  }

  #scratched(
    file: number,
    codes: Pick<SourcePiece, 'shard' | 'offset'>,
    { shard, offset, size, at }: SourcePiece,
    ahead: (() => void)[],
    stretches: readonly Stretch[] = [{ from: 0, size, place: null }],
  ): void {
    const place = (from: number): WritePlace => ({ kind: 'copy', file, offset: at + from });
    const [own, codesPass] = [this.#pass(shard), this.#pass(codes.shard)];
    const isBehind = own > codesPass || (own === codesPass && offset > codes.offset);
    const fetched = isBehind ? codesPass : own;
    const lastUse = Math.max(own, codesPass);
    const before = this.#uses.get(file);
    this.#uses.set(file, {
      fetched: Math.min(fetched, before?.fetched ?? fetched),
      lastUse: Math.max(lastUse, before?.lastUse ?? lastUse),
      item: 0,
    });
    if (!isBehind) {
      this.#segment(shard, offset, size, () => {
        for (const part of stretches) {
          this.#bytes(shard, offset + part.from, part.size, true, part.place ?? place(part.from));
        }
      });
      return;
    }
    ahead.push(() => {
      for (const part of stretches) {
        if (part.place !== null) continue;
        this.#bytes(shard, offset + part.from, part.size, false, place(part.from));
      }
    });
    this.#rewind[own] = Math.min(this.#rewind[own] ?? own, codesPass);
    this.#segment(shard, offset, size, () => {
      for (const { from, size: length, place: to } of stretches) {
        if (to === null)
          this.#items.push({ type: 'recall', file, offset: at + from, size: length });
        else this.#bytes(shard, offset + from, length, true, to);
      }
      this.#used(file);
    });
  }

  #used(file: number): void {
    const use = this.#uses.get(file);
    if (use !== undefined) use.item = this.#items.length;
  }

  #segment(shard: string, start: number, size: number, emit: () => void): void {
    if (size > 0) this.#segments[this.#pass(shard)]?.push({ start, size, emit });
  }

  #pass(shard: string): number {
    const pass = this.#passOf.get(shard);
    if (pass === undefined) throw new RangeError(`${shard} is not in the plan's order`);
    return pass;
  }

  #drop(shard: string, start: number, end: number): void {
    if (start < end) this.#bytes(shard, start, end - start, true, { kind: 'drop' });
  }

  #bytes(shard: string, start: number, size: number, hashed: boolean, place: WritePlace): void {
    this.#items.push({ type: 'bytes', size, hashed, place });
    const last = this.#runs.at(-1);
    if (last?.shard === shard && last.end === start) last.end += size;
    else this.#runs.push({ shard, start, end: start + size, at: this.#length });
    this.#length += size;
  }

  #file(file: WritePlanFile): number {
    return this.#files.push(file) - 1;
  }
}
