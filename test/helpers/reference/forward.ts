// A whole model in double precision, token after token: residuals, experts, n-gram rows. docs/format.md has the formulas.

import type {
  HyperConnectionSpec,
  LayerSpec,
  ModelSpec,
  MoeSpec,
  NgramSpec,
} from '../../../src/models/spec.js';
import type { Checkpoint, Values } from './checkpoint.js';
import { dot, get, linear, mixerOf, rms, sigmoid, silu, type Vector } from './mixers.js';

export interface Computed {
  /** [tokens, vocab]. */
  logits: Float32Array;
  /** Input of each layer, [tokens, residual], and what the output matrix takes, [tokens, hidden]. */
  hidden: Float32Array[];
}

export function computeAll(
  { spec, values, tableRows }: Checkpoint,
  tokens: readonly number[],
): Computed {
  const { hiddenSize: h, normEps: eps } = spec;
  const count = spec.streams?.count ?? 1;
  const shared = { keys: [] };
  const layers = spec.layers.map((layer, index) => ({
    layer,
    index,
    mixer: mixerOf(layer.mixer, values, eps, shared),
    rows: layer.ngram && ngram(layer.ngram, values, spec, tableRows),
  }));
  const hidden: number[][] = Array.from({ length: layers.length + 1 }, () => []);
  const logits: number[] = [];
  tokens.forEach((token, position) => {
    const row = get(values, spec.embed).slice(token * h, (token + 1) * h);
    let residual: Vector = Float64Array.from({ length: count * h }, (_, i) => row[i % h] ?? 0);
    for (const { layer, index, mixer, rows } of layers) {
      hidden[index]?.push(...residual);
      if (rows) residual = rows(residual, tokens, position);
      residual = through(layer.inputNorm, layer.connections?.mixer, spec, values, residual, (x) =>
        mixer(x, position),
      );
      residual = through(layer.postNorm, layer.connections?.mlp, spec, values, residual, (x) =>
        mlp(layer, index, values, x),
      );
    }
    const last =
      spec.streams === undefined
        ? rms(residual, get(values, spec.finalNorm ?? ''), eps)
        : taken(spec.streams.mixer, spec, values, residual).x;
    hidden.at(-1)?.push(...last);
    logits.push(...linear(values, spec.lmHead, last));
  });
  return {
    logits: Float32Array.from(logits),
    hidden: hidden.map((rows) => Float32Array.from(rows)),
  };
}

/** A block between a residual and itself. */
function through(
  norm: string | undefined,
  connection: HyperConnectionSpec | undefined,
  spec: ModelSpec,
  values: Values,
  residual: Vector,
  block: (x: Vector) => Vector,
): Vector {
  if (connection === undefined) {
    const y = block(rms(residual, get(values, norm ?? ''), spec.normEps));
    return residual.map((value, i) => value + (y[i] ?? 0));
  }
  const { x, grows } = taken(connection, spec, values, residual);
  const y = block(x);
  const h = spec.hiddenSize;
  return residual.map((value, i) => value + (grows[Math.floor(i / h)] ?? 0) * (y[i % h] ?? 0));
}

function taken(
  { tensors }: HyperConnectionSpec,
  { hiddenSize: h, normEps, streams }: ModelSpec,
  values: Values,
  residual: Vector,
): { x: Vector; grows: Vector } {
  const count = streams?.count ?? 1;
  const y = normedStreams(residual, get(values, tensors.norm), h, normEps);
  const shared = y.map((value) => value / count);
  const gates = linear(values, tensors.up, linear(values, tensors.down, shared).map(silu)).map(
    sigmoid,
  );
  const x = Float64Array.from({ length: h }, (_, i) => {
    let sum = 0;
    for (let s = 0; s < count; s += 1) sum += (gates[s * h + i] ?? 0) * (y[s * h + i] ?? 0);
    return sum / count;
  });
  const grows =
    tensors.inject === undefined
      ? new Float64Array(count)
      : linear(values, tensors.inject, shared).map((value) => 2 * sigmoid(value));
  return { x, grows };
}

function normedStreams(x: Vector, weight: Vector, h: number, eps: number): Vector {
  const streams = Array.from({ length: x.length / h }, (_, s) => [
    ...rms(x.slice(s * h, (s + 1) * h), weight, eps, s * h),
  ]);
  return Float64Array.from(streams.flat());
}

function gated(
  values: Values,
  names: { gate: string; up: string; down: string },
  x: Vector,
): Vector {
  const [gate, up] = [linear(values, names.gate, x), linear(values, names.up, x)];
  return linear(
    values,
    names.down,
    gate.map((value, i) => silu(value) * (up[i] ?? 0)),
  );
}

function mlp({ mlp: spec }: LayerSpec, layer: number, values: Values, x: Vector): Vector {
  if (spec.kind === 'dense_mlp') return gated(values, spec.tensors, x);
  const out = new Float64Array(x.length);
  for (const { expert, weight } of routed(spec, values, x)) {
    const y = runExpert(spec, values, layer, expert, x);
    y.forEach((value, i) => (out[i] = (out[i] ?? 0) + weight * value));
  }
  if (spec.shared === null) return out;
  const { sigmoidGate } = spec.shared.tensors;
  const share = sigmoidGate === undefined ? 1 : sigmoid(linear(values, sigmoidGate, x)[0] ?? 0);
  const y = gated(values, spec.shared.tensors, x);
  return out.map((value, i) => value + share * (y[i] ?? 0));
}

function routed(spec: MoeSpec, values: Values, x: Vector): { expert: number; weight: number }[] {
  const logits = [...linear(values, spec.tensors.router, x)];
  const most = Math.max(...logits);
  const sum = logits.reduce((total, logit) => total + Math.exp(logit - most), 0);
  const scores = logits.map((logit) =>
    spec.scoring === 'sigmoid' ? sigmoid(logit) : Math.exp(logit - most) / sum,
  );
  const bias = spec.tensors.choiceBias === undefined ? null : get(values, spec.tensors.choiceBias);
  const choice = scores.map((score, i) => score + (bias?.[i] ?? 0));
  const size = spec.experts / spec.groups;
  const groups = Array.from({ length: spec.groups }, (_, group) => {
    const own = choice.slice(group * size, (group + 1) * size).sort((a, b) => b - a);
    return { group, score: (own[0] ?? 0) + (own[1] ?? 0) };
  }).sort((a, b) => b.score - a.score);
  const open = new Set(groups.slice(0, spec.topGroups).map(({ group }) => group));
  const chosen = choice
    .map((score, expert) => ({ score, expert }))
    .filter(({ expert }) => open.has(Math.floor(expert / size)))
    .sort((a, b) => b.score - a.score)
    .slice(0, spec.topK);
  const total = spec.normTopK
    ? chosen.reduce((all, { expert }) => all + (scores[expert] ?? 0), 0)
    : 1;
  return chosen.map(({ expert }) => {
    return { expert, weight: ((scores[expert] ?? 0) / total) * spec.routedScale };
  });
}

function runExpert(
  { intermediateSize: inner, clamp, expertBias = false }: MoeSpec,
  values: Values,
  layer: number,
  expert: number,
  x: Vector,
): Vector {
  const project = (name: string, from: Vector, rows: number): Vector => {
    const module = `model.layers.${layer}.mlp.switch_mlp.${name}`;
    const w = get(values, module);
    const own = new Map([
      ['w', w.subarray(expert * rows * from.length, (expert + 1) * rows * from.length)],
    ]);
    const bias = expertBias ? get(values, `${module}.bias`) : null;
    return linear(own, 'w', from).map((value, i) => value + (bias?.[expert * rows + i] ?? 0));
  };
  const [gate, up] = [project('gate_proj', x, inner), project('up_proj', x, inner)];
  const unit = gate.map((value, i) => {
    const u = up[i] ?? 0;
    if (clamp === undefined) return silu(value) * u;
    const g = Math.min(value, clamp);
    return (Math.max(-clamp, Math.min(clamp, u)) + 1) * g * sigmoid(1.702 * g);
  });
  return project('down_proj', unit, x.length);
}

/** Adds n-gram rows to a residual. */
function ngram(
  spec: NgramSpec,
  values: Values,
  { hiddenSize: h, normEps: eps }: ModelSpec,
  tableRows: number,
): (residual: Vector, tokens: readonly number[], position: number) => Vector {
  const { order, headsPerOrder, convKernel, stopId, tensors } = spec;
  const columns = spec.width / ((order - 1) * headsPerOrder);
  const past: Vector[] = [];
  const whole = (name: string): bigint[] => [...get(values, name)].map(BigInt);
  const [multipliers, sizes, offsets] = [tensors.multipliers, tensors.sizes, tensors.offsets].map(
    whole,
  );
  const rowsOf = (tokens: readonly number[], position: number): number[] => {
    const ids = Array.from({ length: order }, (_, s) => {
      if (s === 0) return tokens[position] ?? 0;
      const between = tokens.slice(Math.max(0, position - s), position);
      return position < s || between.includes(stopId) ? stopId : (tokens[position - s] ?? 0);
    });
    const rows: number[] = [];
    let x = BigInt(ids[0] ?? 0) * (multipliers?.[0] ?? 0n);
    for (let n = 2; n <= order; n += 1) {
      x ^= BigInt(ids[n - 1] ?? 0) * (multipliers?.[n - 1] ?? 0n);
      for (let j = 0; j < headsPerOrder; j += 1) {
        const head = (n - 2) * headsPerOrder + j;
        rows.push(Number((x % (sizes?.[head] ?? 1n)) + (offsets?.[head] ?? 0n)));
      }
    }
    return rows;
  };
  return (residual, tokens, position) => {
    const e = rowsOf(tokens, position).flatMap((row) => {
      const table = get(values, `${tensors.table}_${Math.floor(row / tableRows)}`);
      const at = (row % tableRows) * columns;
      return [...table.subarray(at, at + columns)];
    });
    const rows = Float64Array.from(e);
    const key = normedStreams(
      linear(values, tensors.key, rows),
      get(values, tensors.keyNorm),
      h,
      eps,
    );
    const query = normedStreams(residual, get(values, tensors.queryNorm), h, eps);
    const value = linear(values, tensors.value, rows);
    const v = Float64Array.from(residual, (_, i) => {
      const s = Math.floor(i / h) * h;
      const g = dot(key.slice(s, s + h), query.slice(s, s + h)) / Math.sqrt(h);
      return sigmoid(Math.sign(g) * Math.sqrt(Math.max(Math.abs(g), 1e-6))) * (value[i % h] ?? 0);
    });
    past.push(normedStreams(v, get(values, tensors.convNorm), h, eps));
    const taps = get(values, tensors.conv);
    return residual.map((old, c) => {
      let sum = 0;
      for (let k = 0; k < convKernel; k += 1) {
        const row = past[position - (convKernel - 1 - k) * order];
        sum += (taps[c * convKernel + k] ?? 0) * (row?.[c] ?? 0);
      }
      return old + (v[c] ?? 0) + silu(sum);
    });
  };
}
