// What a model takes of memory, before it is here: from its description and sizes, or from the catalogue. The engine's own
// figures decide once it is.

import type { CatalogEntry } from './catalog.js';
import type { ModelMemory } from './memory-plan.js';
import type { OfferedQuant } from './quant.js';
import type { ExpertLayout, LayerSpec, MixerSpec, ModelSpec, RopeSpec } from './spec.js';

const FLOAT = 4;
const CODE = 2;
/** Of routing, each choice of a token: number and weight, and three numbers of its place. */
const CHOICE_BYTES = 5 * FLOAT;

export interface PackedSizes {
  denseBytes: number;
  layouts: readonly ExpertLayout[];
  /** `layout`: index into layouts; size of its file. `kept`: some of its experts have another layout. */
  layers: readonly {
    layer: number;
    layout: number;
    size: number;
    experts: number;
    kept?: { layout: number; experts: readonly number[] };
    /** Rows, not experts. */
    table?: object;
  }[];
}

/** What a token of a pass has besides its rotations: its id, its streams with a weight each, two more rows, keys that layers share. */
function passFloats({ hiddenSize, streams, layers }: ModelSpec): number {
  const count = streams?.count ?? 1;
  const latent = layers.flatMap(({ mixer }) => (mixer.kind === 'mla' ? [mixer] : []));
  const isShared = latent.some(({ sharesKeys }) => sharesKeys === true);
  const shared = isShared ? Math.max(0, ...latent.map(({ indexer }) => indexer?.topK ?? 0)) : 0;
  return 2 + (2 + count) * hiddenSize + count + shared;
}

export function memoryOfSpec(spec: ModelSpec, packed: PackedSizes): ModelMemory {
  // Tables of n-gram rows are read a row at a time: nothing of them stays.
  const sizes = { ...packed, layers: packed.layers.filter(({ table }) => table === undefined) };
  const stride = (layout: number): number => sizes.layouts[layout]?.expert_stride ?? 0;
  const topK = (layer: number): number => {
    const mlp = spec.layers[layer]?.mlp;
    return mlp?.kind === 'moe' ? mlp.topK : 0;
  };
  const streams = spec.streams?.count ?? 1;
  const states = spec.layers.map((layer) => stateOfLayer(layer, streams * spec.hiddenSize));
  const mostChosen = Math.max(0, ...spec.layers.map((_, layer) => topK(layer)));
  const ropes = new Map(spec.layers.flatMap(({ mixer }) => ropesOf(mixer)).map(distinct));
  const rotated = sum([...ropes.values()].map(({ dims }) => dims));
  return {
    denseBytes: sizes.denseBytes,
    expertFileBytes: sum(sizes.layers.map(({ size }) => size)),
    largestExpertBytes: Math.max(
      0,
      ...sizes.layers.map(({ layout, kept }) => Math.max(stride(layout), stride(kept?.layout ?? layout))),
    ),
    expertBytesPerToken: sum(
      sizes.layers.map((of) => topK(of.layer) * meanSize(sizes.layouts, of)),
    ),
    stateBytes: sum(states.map(({ fixed }) => fixed)),
    kvBytesPerToken: sum(states.map(({ perToken }) => perToken)),
    prefillBytesPerToken:
      FLOAT * (passFloats(spec) + rotated) + mostChosen * CHOICE_BYTES,
    maxPositions: spec.maxPositions,
  };
}

/** Bytes of an expert of the layer, on average over its experts. */
function meanSize(
  layouts: readonly ExpertLayout[],
  { layout, experts, kept }: PackedSizes['layers'][number],
): number {
  const size = (at: number): number => layouts[at]?.expert_size ?? 0;
  if (kept === undefined) return size(layout);
  const count = kept.experts.length;
  return Math.round((size(layout) * (experts - count) + size(kept.layout) * count) / experts);
}

/** The same estimated from the catalogue: rotations are left out, a fiftieth of a token's room. */
export function memoryOfEntry(entry: CatalogEntry, quant: OfferedQuant): ModelMemory {
  const expertBytes = entry.expertBytes[quant];
  return {
    denseBytes: entry.residentBytes,
    expertFileBytes: entry.routedLayers * entry.experts * expertBytes,
    largestExpertBytes: expertBytes,
    expertBytesPerToken: entry.routedLayers * entry.expertsPerToken * expertBytes,
    stateBytes: entry.stateBytes,
    kvBytesPerToken: entry.kvBytesPerToken,
    prefillBytesPerToken:
      FLOAT * (3 + 3 * entry.hiddenSize) + entry.expertsPerToken * CHOICE_BYTES,
    maxPositions: entry.contextLength,
  };
}

/** `residual`: numbers that a token is between two layers, in all streams. */
function stateOfLayer(
  { mixer, ngram }: LayerSpec,
  residual: number,
): { perToken: number; fixed: number } {
  const { perToken, fixed } = stateOf(mixer);
  if (ngram === undefined) return { perToken, fixed };
  const history = wholeLines((ngram.convKernel - 1) * ngram.order * residual * FLOAT);
  return { perToken, fixed: wholeLines(fixed) + history + (ngram.order - 1) * FLOAT };
}

function wholeLines(bytes: number): number {
  return Math.ceil(bytes / 64) * 64;
}

/** Bytes of a conversation in one layer, as the engine lays them out (docs/format.md). */
function stateOf(mixer: MixerSpec): { perToken: number; fixed: number } {
  switch (mixer.kind) {
    case 'gqa':
      return {
        perToken:
          2 * mixer.kvHeads * (mixer.headDim * CODE + FLOAT) + (mixer.blocks?.dim ?? 0) * FLOAT,
        fixed: 0,
      };
    case 'mla': {
      const { indexer } = mixer;
      const keys = indexer === undefined ? 0 : indexer.dim * CODE + FLOAT;
      return { perToken: (mixer.kvLoraRank + mixer.ropeDim) * CODE + 2 * FLOAT + keys, fixed: 0 };
    }
    case 'gated_delta_net': {
      const { keyHeads, valueHeads, keyDim, valueDim, convKernel } = mixer;
      const channels = 2 * keyHeads * keyDim + valueHeads * valueDim;
      const history = wholeLines((convKernel - 1) * channels * FLOAT);
      return { perToken: 0, fixed: history + valueHeads * valueDim * keyDim * FLOAT };
    }
  }
}

function ropesOf(mixer: MixerSpec): RopeSpec[] {
  if (mixer.kind === 'gated_delta_net') return [];
  if (mixer.kind === 'gqa' || mixer.indexer === undefined) return [mixer.rope];
  return [mixer.rope, mixer.indexer.rope];
}

/** Layers that rotate alike share a table. */
function distinct(rope: RopeSpec): [string, RopeSpec] {
  return [JSON.stringify(rope), rope];
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
