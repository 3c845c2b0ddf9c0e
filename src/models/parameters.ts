// Every parameter that a ModelSpec implies, with its logical shape. Derived from block kinds alone, so a
// family that writes a spec need not list its tensors again, and "missing" and "left over" are exact.

import type { LayerSpec, MixerSpec, ModelSpec, MoeSpec } from './spec.js';

/** `[...lead, rows, columns]` logical; stored as it is or as weight, scales and biases. */
export interface Linear {
  module: string;
  lead: number[];
  rows: number;
  columns: number;
}

/** A tensor that is never quantised; `name` in full. */
export interface Plain {
  name: string;
  shape: number[];
}

/** The routed experts of one layer. */
export interface RoutedExperts {
  layer: number;
  experts: number;
  hiddenSize: number;
  intermediateSize: number;
}

export interface Parameters {
  linears: Linear[];
  plains: Plain[];
  routed: RoutedExperts[];
}

export function parametersOf(spec: ModelSpec): Parameters {
  const all: Parameters = { linears: [], plains: [], routed: [] };
  const h = spec.hiddenSize;
  linear(all, spec.embed, spec.vocabSize, h);
  if (spec.lmHead !== spec.embed) linear(all, spec.lmHead, spec.vocabSize, h);
  norm(all, spec.finalNorm, h);
  spec.layers.forEach((layer, index) => {
    norm(all, layer.inputNorm, h);
    norm(all, layer.postNorm, h);
    addMixer(all, layer.mixer, h);
    addMlp(all, layer, h, index);
  });
  return all;
}

function linear(to: Parameters, module: string, rows: number, columns: number, lead: number[] = []) {
  to.linears.push({ module, lead, rows, columns });
}

function norm(to: Parameters, module: string, size: number) {
  to.plains.push({ name: `${module}.weight`, shape: [size] });
}

function addMixer(to: Parameters, mixer: MixerSpec, h: number): void {
  switch (mixer.kind) {
    case 'gqa': {
      const { heads, kvHeads, headDim, tensors } = mixer;
      linear(to, tensors.q, heads * headDim * (mixer.outputGate ? 2 : 1), h);
      linear(to, tensors.k, kvHeads * headDim, h);
      linear(to, tensors.v, kvHeads * headDim, h);
      linear(to, tensors.o, h, heads * headDim);
      if (tensors.qNorm !== undefined) norm(to, tensors.qNorm, headDim);
      if (tensors.kNorm !== undefined) norm(to, tensors.kNorm, headDim);
      return;
    }
    case 'gated_delta_net': {
      const { keyHeads, valueHeads, keyDim, valueDim, convKernel, tensors } = mixer;
      const values = valueHeads * valueDim;
      const channels = 2 * keyHeads * keyDim + values;
      linear(to, tensors.qkv, channels, h);
      linear(to, tensors.z, values, h);
      linear(to, tensors.a, valueHeads, h);
      linear(to, tensors.b, valueHeads, h);
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
      if (tensors.embedQ !== undefined) linear(to, tensors.embedQ, kvLoraRank, nopeDim, [heads]);
      if (tensors.unembedOut !== undefined) {
        linear(to, tensors.unembedOut, valueDim, kvLoraRank, [heads]);
      }
      linear(to, tensors.o, h, heads * valueDim);
      return;
    }
  }
}

function addMlp(to: Parameters, { mlp }: LayerSpec, h: number, layer: number): void {
  if (mlp.kind === 'moe') {
    addMoe(to, mlp, h);
    const { experts, intermediateSize } = mlp;
    to.routed.push({ layer, experts, hiddenSize: h, intermediateSize });
  } else {
    gatedMlp(to, mlp.tensors, h, mlp.intermediateSize);
  }
}

function addMoe(to: Parameters, moe: MoeSpec, h: number): void {
  linear(to, moe.tensors.router, moe.experts, h);
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
