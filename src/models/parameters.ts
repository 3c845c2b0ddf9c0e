// Every parameter that a ModelSpec implies, with its logical shape. Derived from block kinds alone, so a
// family that writes a spec need not list its tensors again, and "missing" and "left over" are exact.

import type {
  BlockIndexerSpec,
  HyperConnectionSpec,
  IndexerSpec,
  LayerSpec,
  MixerSpec,
  ModelSpec,
  MoeSpec,
  NgramSpec,
} from './spec.js';

/** `[...lead, rows, columns]` logical; stored as it is or as weight, scales and biases. */
export interface Linear {
  module: string;
  lead: number[];
  rows: number;
  columns: number;
  /** `MODULE.bias` [rows] is added to its results. */
  bias: boolean;
}

/** A tensor that is never quantised; `name` in full. */
export interface Plain {
  name: string;
  shape: number[];
  /** 64-bit integers instead of numbers. */
  isInteger?: boolean;
}

/** A table of rows in parts of equal length, `MODULE_0` and on; how many rows is for the checkpoint to say. */
export interface Table {
  layer: number;
  module: string;
  parts: number;
  columns: number;
}

/** The routed experts of one layer. */
export interface RoutedExperts {
  layer: number;
  experts: number;
  hiddenSize: number;
  intermediateSize: number;
  /** Their projections add a bias. */
  bias: boolean;
}

export interface Parameters {
  linears: Linear[];
  plains: Plain[];
  routed: RoutedExperts[];
  tables: Table[];
}

export function parametersOf(spec: ModelSpec): Parameters {
  const all: Parameters = { linears: [], plains: [], routed: [], tables: [] };
  const h = spec.hiddenSize;
  const streams = spec.streams?.count ?? 1;
  linear(all, spec.embed, spec.vocabSize, h);
  if (spec.lmHead !== spec.embed) linear(all, spec.lmHead, spec.vocabSize, h);
  if (spec.finalNorm !== undefined) norm(all, spec.finalNorm, h);
  if (spec.streams !== undefined) addConnection(all, spec.streams.mixer, h, streams);
  spec.layers.forEach((layer, index) => {
    if (layer.inputNorm !== undefined) norm(all, layer.inputNorm, h);
    if (layer.postNorm !== undefined) norm(all, layer.postNorm, h);
    if (layer.connections !== undefined) {
      addConnection(all, layer.connections.mixer, h, streams);
      addConnection(all, layer.connections.mlp, h, streams);
    }
    if (layer.ngram !== undefined) addNgram(all, layer.ngram, h, streams, index);
    addMixer(all, layer.mixer, h);
    addMlp(all, layer, h, index);
  });
  return all;
}

function linear(
  to: Parameters,
  module: string,
  rows: number,
  columns: number,
  { lead = [], bias = false }: { lead?: number[]; bias?: boolean | undefined } = {},
) {
  to.linears.push({ module, lead, rows, columns, bias });
}

function norm(to: Parameters, module: string, size: number) {
  to.plains.push({ name: `${module}.weight`, shape: [size] });
}

function addConnection(
  to: Parameters,
  { rank, tensors }: HyperConnectionSpec,
  h: number,
  streams: number,
): void {
  norm(to, tensors.norm, streams * h);
  linear(to, tensors.down, rank, streams * h);
  linear(to, tensors.up, streams * h, rank);
  if (tensors.inject !== undefined) linear(to, tensors.inject, streams, streams * h);
}

function addNgram(
  to: Parameters,
  { order, headsPerOrder, width, convKernel, parts, tensors }: NgramSpec,
  h: number,
  streams: number,
  layer: number,
): void {
  const heads = (order - 1) * headsPerOrder;
  to.tables.push({ layer, module: tensors.table, parts, columns: width / heads });
  to.plains.push({ name: tensors.multipliers, shape: [order], isInteger: true });
  to.plains.push({ name: tensors.sizes, shape: [heads], isInteger: true });
  to.plains.push({ name: tensors.offsets, shape: [heads], isInteger: true });
  linear(to, tensors.key, streams * h, width);
  linear(to, tensors.value, h, width);
  for (const name of [tensors.keyNorm, tensors.queryNorm, tensors.convNorm]) {
    norm(to, name, streams * h);
  }
  to.plains.push({ name: `${tensors.conv}.weight`, shape: [streams * h, convKernel, 1] });
}

function addBlockIndexer(to: Parameters, indexer: BlockIndexerSpec, h: number): void {
  const { heads, dim, tensors } = indexer;
  linear(to, tensors.qk, (heads + 1) * dim, h);
  norm(to, tensors.qNorm, dim);
  norm(to, tensors.kNorm, dim);
}

function addMixer(to: Parameters, mixer: MixerSpec, h: number): void {
  switch (mixer.kind) {
    case 'gqa': {
      const { heads, kvHeads, headDim, tensors, normAllHeads = false } = mixer;
      const bias = mixer.qkvBias;
      linear(to, tensors.q, heads * headDim * (mixer.outputGate ? 2 : 1), h, { bias });
      linear(to, tensors.k, kvHeads * headDim, h, { bias });
      linear(to, tensors.v, kvHeads * headDim, h, { bias });
      linear(to, tensors.o, h, heads * headDim, { bias: mixer.oBias });
      const [q, k] = normAllHeads ? [heads * headDim, kvHeads * headDim] : [headDim, headDim];
      if (tensors.qNorm !== undefined) norm(to, tensors.qNorm, q);
      if (tensors.kNorm !== undefined) norm(to, tensors.kNorm, k);
      if (tensors.sinks !== undefined) to.plains.push({ name: tensors.sinks, shape: [heads] });
      if (mixer.blocks !== undefined) addBlockIndexer(to, mixer.blocks, h);
      return;
    }
    case 'gated_delta_net': {
      const { keyHeads, valueHeads, keyDim, valueDim, convKernel, tensors } = mixer;
      const values = valueHeads * valueDim;
      const channels = 2 * keyHeads * keyDim + values;
      if (tensors.qkv !== undefined) linear(to, tensors.qkv, channels, h);
      if (tensors.z !== undefined) linear(to, tensors.z, values, h);
      if (tensors.a !== undefined) linear(to, tensors.a, valueHeads, h);
      if (tensors.b !== undefined) linear(to, tensors.b, valueHeads, h);
      if (tensors.qkvz !== undefined) linear(to, tensors.qkvz, channels + values, h);
      if (tensors.ba !== undefined) linear(to, tensors.ba, 2 * valueHeads, h);
      linear(to, tensors.out, h, values);
      to.plains.push({ name: `${tensors.conv}.weight`, shape: [channels, convKernel, 1] });
      to.plains.push({ name: tensors.aLog, shape: [valueHeads] });
      to.plains.push({ name: tensors.dtBias, shape: [valueHeads] });
      norm(to, tensors.norm, valueDim);
      return;
    }
    case 'mla': {
      const { heads, kvLoraRank, nopeDim, ropeDim, valueDim, qLoraRank, tensors } = mixer;
      const queries = heads * (nopeDim + ropeDim);
      if (tensors.q !== undefined) linear(to, tensors.q, queries, h);
      if (qLoraRank !== null) {
        if (tensors.qA !== undefined) linear(to, tensors.qA, qLoraRank, h);
        if (tensors.qANorm !== undefined) norm(to, tensors.qANorm, qLoraRank);
        if (tensors.qB !== undefined) linear(to, tensors.qB, queries, qLoraRank);
      }
      linear(to, tensors.kvA, kvLoraRank + ropeDim, h);
      norm(to, tensors.kvANorm, kvLoraRank);
      if (tensors.kvB !== undefined) {
        linear(to, tensors.kvB, heads * (nopeDim + valueDim), kvLoraRank);
      }
      if (tensors.embedQ !== undefined) {
        linear(to, tensors.embedQ, kvLoraRank, nopeDim, { lead: [heads] });
      }
      if (tensors.unembedOut !== undefined) {
        linear(to, tensors.unembedOut, valueDim, kvLoraRank, { lead: [heads] });
      }
      linear(to, tensors.o, h, heads * valueDim);
      if (mixer.indexer !== undefined) addIndexer(to, mixer.indexer, h, qLoraRank ?? 0);
      return;
    }
  }
}

function addIndexer(to: Parameters, indexer: IndexerSpec, h: number, queryRank: number): void {
  const { heads, dim, tensors } = indexer;
  linear(to, tensors.q, heads * dim, queryRank);
  linear(to, tensors.k, dim, h);
  linear(to, tensors.weights, heads, h);
  norm(to, tensors.kNorm, dim);
  to.plains.push({ name: `${tensors.kNorm}.bias`, shape: [dim] });
}

function addMlp(to: Parameters, { mlp }: LayerSpec, h: number, layer: number): void {
  if (mlp.kind === 'moe') {
    addMoe(to, mlp, h);
    const { experts, intermediateSize, expertBias: bias = false } = mlp;
    to.routed.push({ layer, experts, hiddenSize: h, intermediateSize, bias });
  } else {
    gatedMlp(to, mlp.tensors, h, mlp.intermediateSize);
  }
}

function addMoe(to: Parameters, moe: MoeSpec, h: number): void {
  linear(to, moe.tensors.router, moe.experts, h, { bias: moe.routerBias });
  if (moe.tensors.choiceBias !== undefined) {
    to.plains.push({ name: moe.tensors.choiceBias, shape: [moe.experts] });
  }
  if (moe.shared === null) return;
  gatedMlp(to, moe.shared.tensors, h, moe.shared.intermediateSize);
  const { sigmoidGate } = moe.shared.tensors;
  if (sigmoidGate !== undefined) linear(to, sigmoidGate, 1, h);
}

function gatedMlp(
  to: Parameters,
  tensors: { gate: string; up: string; down: string },
  h: number,
  intermediate: number,
): void {
  linear(to, tensors.gate, intermediate, h);
  linear(to, tensors.up, intermediate, h);
  linear(to, tensors.down, h, intermediate);
}
