// Attention, latent attention and delta nets in double precision, token after token, as docs/format.md states them. Knows
// nothing of the engine: it reads a spec and plain numbers.

import type {
  GatedDeltaNetSpec,
  GqaSpec,
  MixerSpec,
  MlaSpec,
  RopeSpec,
} from '../../../src/models/spec.js';
import type { Values } from './checkpoint.js';

export type Vector = Float64Array<ArrayBufferLike>;

export function get(values: Values, name: string): Float64Array {
  const found = values.get(name);
  if (!found) throw new Error(`no ${name}`);
  return found;
}

/** W x with W [rows, x.length]; `from`: first row. */
export function linear(values: Values, name: string, x: Vector, from = 0, count?: number): Vector {
  const w = get(values, name);
  const rows = count ?? w.length / x.length - from;
  const bias = values.get(`${name}.bias`);
  const y = new Float64Array(rows);
  for (let row = 0; row < rows; row += 1) {
    let sum = bias?.[from + row] ?? 0;
    const at = (from + row) * x.length;
    for (let i = 0; i < x.length; i += 1) sum += (x[i] ?? 0) * (w[at + i] ?? 0);
    y[row] = sum;
  }
  return y;
}

export function rms(x: Vector, weight: Vector | null, eps: number, at = 0): Vector {
  const mean = x.reduce((sum, value) => sum + value * value, 0) / x.length;
  return x.map((value, i) => (value / Math.sqrt(mean + eps)) * (weight?.[at + i] ?? 1));
}

export const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));
export const silu = (x: number): number => x * sigmoid(x);

export function dot(a: Vector, b: Vector): number {
  let sum = 0;
  for (let i = 0; i < a.length; i += 1) sum += (a[i] ?? 0) * (b[i] ?? 0);
  return sum;
}

/** Turns the first `dims` of `x` in place. */
function rotate(
  x: Vector,
  { pairing, dims, invFreq, magnitude }: RopeSpec,
  position: number,
): Vector {
  invFreq.forEach((frequency, i) => {
    const [a, b] = pairing === 'half' ? [i, i + dims / 2] : [2 * i, 2 * i + 1];
    const cos = Math.cos(position * frequency) * magnitude;
    const sin = Math.sin(position * frequency) * magnitude;
    const [u, v] = [x[a] ?? 0, x[b] ?? 0];
    x[a] = u * cos - v * sin;
    x[b] = v * cos + u * sin;
  });
  return x;
}

function softmax(scores: number[], sink?: number): number[] {
  const most = Math.max(...scores, sink ?? -Infinity);
  const terms = scores.map((score) => Math.exp(score - most));
  const sum = terms.reduce((a, b) => a + b, sink === undefined ? 0 : Math.exp(sink - most));
  return terms.map((term) => term / sum);
}

/** Indices of the largest, ascending; of equal ones the earlier. */
function largest(scores: number[], count: number): number[] {
  const order = scores
    .map((_, i) => i)
    .sort((a, b) => (scores[b] ?? 0) - (scores[a] ?? 0) || a - b);
  return order.slice(0, count).sort((a, b) => a - b);
}

const allUpTo = (position: number): number[] => Array.from({ length: position + 1 }, (_, i) => i);
const part = (x: Vector, index: number, width: number): Vector =>
  x.slice(index * width, (index + 1) * width);

/** What layers that share a choice of keys tell each other: keys by position. */
export interface Shared {
  keys: number[][];
}

/** A mixer over one conversation: feed it tokens in order. */
export function mixerOf(
  spec: MixerSpec,
  values: Values,
  eps: number,
  shared: Shared,
): (x: Vector, position: number) => Vector {
  if (spec.kind === 'gqa') return gqa(spec, values, eps);
  if (spec.kind === 'mla') return mla(spec, values, shared);
  return deltaNet(spec, values, eps);
}

function gqa(spec: GqaSpec, values: Values, eps: number): (x: Vector, position: number) => Vector {
  const { heads, kvHeads, headDim: d, tensors, outputGate, normAllHeads = false } = spec;
  const [keys, cached, index]: [Vector[][], Vector[][], Vector[]] = [[], [], []];
  const normed = (x: Vector, name: string | undefined): Vector =>
    name === undefined ? x : rms(x, get(values, name), eps);
  return (x, position) => {
    const stride = d * (outputGate ? 2 : 1);
    const projected = linear(values, tensors.q, x);
    let q: Vector[] = Array.from({ length: heads }, (_, h) =>
      projected.slice(h * stride, h * stride + d),
    );
    const allK = linear(values, tensors.k, x);
    let k: Vector[] = Array.from({ length: kvHeads }, (_, h) => part(allK, h, d));
    if (normAllHeads && tensors.qNorm !== undefined) {
      const [wholeQ, wholeK] = [normed(projected, tensors.qNorm), normed(allK, tensors.kNorm)];
      q = q.map((_, h) => part(wholeQ, h, d));
      k = k.map((_, h) => part(wholeK, h, d));
    } else {
      q = q.map((head) => normed(head, tensors.qNorm));
      k = k.map((head) => normed(head, tensors.kNorm));
    }
    keys.push(k.map((head) => rotate(head, spec.rope, position)));
    const allV = linear(values, tensors.v, x);
    cached.push(Array.from({ length: kvHeads }, (_, h) => part(allV, h, d)));
    let seen = allUpTo(position);
    if (spec.window !== undefined) seen = seen.slice(-spec.window);
    if (spec.blocks !== undefined) seen = blocks(spec, values, eps, x, position, index);
    const out = q.flatMap((head, h) => {
      rotate(head, spec.rope, position);
      const kv = Math.floor(h / (heads / kvHeads));
      const scores = seen.map((at) => spec.scale * dot(head, keys[at]?.[kv] ?? head));
      const sink = tensors.sinks === undefined ? undefined : get(values, tensors.sinks)[h];
      const weights = softmax(scores, sink);
      return Array.from({ length: d }, (_, i) => {
        const sum = seen.reduce(
          (s, at, n) => s + (weights[n] ?? 0) * (cached[at]?.[kv]?.[i] ?? 0),
          0,
        );
        return outputGate ? sum * sigmoid(projected[h * stride + d + i] ?? 0) : sum;
      });
    });
    return linear(values, tensors.o, Float64Array.from(out));
  };
}

/** Positions that a token sees through a block indexer; `raw` collects its keys. */
function blocks(
  { blocks: spec, rope }: GqaSpec,
  values: Values,
  eps: number,
  x: Vector,
  position: number,
  raw: Vector[],
): number[] {
  if (spec === undefined) return [];
  const { heads, dim, budget, ratio, tensors } = spec;
  const qk = linear(values, tensors.qk, x);
  raw.push(part(qk, heads, dim));
  const whole = Math.floor((position + 1) / ratio);
  const kept = Math.floor(budget / ratio);
  if (whole <= kept) return allUpTo(position);
  const queries = Array.from({ length: heads }, (_, h) =>
    rotate(rms(part(qk, h, dim), get(values, tensors.qNorm), eps), rope, position),
  );
  const scores = Array.from({ length: whole }, (_, b) => {
    const own = raw.slice(b * ratio, (b + 1) * ratio);
    const mean = Float64Array.from({ length: dim }, (__, i) =>
      own.reduce((sum, key) => sum + (key[i] ?? 0) / ratio, 0),
    );
    const key = rotate(rms(mean, get(values, tensors.kNorm), eps), rope, b * ratio);
    return queries.reduce((sum, q) => sum + Math.max(0, dot(q, key)), 0);
  });
  const chosen = largest(scores, kept).flatMap((b) => allUpTo(ratio - 1).map((i) => b * ratio + i));
  return [...chosen, ...allUpTo(position).slice(whole * ratio)];
}

function mla(
  spec: MlaSpec,
  values: Values,
  shared: Shared,
): (x: Vector, position: number) => Vector {
  const {
    heads,
    kvLoraRank: r,
    nopeDim: n,
    ropeDim,
    valueDim: v,
    tensors,
    loraNormEps: eps,
  } = spec;
  const [turned, index]: [Vector[], Vector[]] = [[], []];
  /** By position and head. */
  const [keys, cached]: [Vector[][], Vector[][]] = [[], []];
  const keyOf = (latent: Vector, h: number): Vector => {
    if (tensors.kvB !== undefined) return linear(values, tensors.kvB, latent, h * (n + v), n);
    const w = get(values, tensors.embedQ ?? '');
    return Float64Array.from({ length: n }, (_, i) =>
      latent.reduce((sum, value, l) => sum + value * (w[(h * r + l) * n + i] ?? 0), 0),
    );
  };
  const valueOf = (latent: Vector, h: number): Vector =>
    tensors.kvB !== undefined
      ? linear(values, tensors.kvB, latent, h * (n + v) + n, v)
      : linear(values, tensors.unembedOut ?? '', latent, h * v, v);
  return (x, position) => {
    let low: Vector | null = null;
    if (tensors.qA !== undefined) {
      low = rms(linear(values, tensors.qA, x), get(values, tensors.qANorm ?? ''), eps);
    }
    const q =
      low === null ? linear(values, tensors.q ?? '', x) : linear(values, tensors.qB ?? '', low);
    const c = linear(values, tensors.kvA, x);
    const latent = rms(c.slice(0, r), get(values, tensors.kvANorm), eps);
    keys.push(Array.from({ length: heads }, (_, h) => keyOf(latent, h)));
    cached.push(Array.from({ length: heads }, (_, h) => valueOf(latent, h)));
    turned.push(rotate(c.slice(r), spec.rope, position));
    if (spec.indexer !== undefined && low !== null) {
      shared.keys[position] = indexed(spec, values, x, low, position, index);
    }
    const isSparse = spec.indexer !== undefined || spec.sharesKeys === true;
    const seen = isSparse ? (shared.keys[position] ?? []) : allUpTo(position);
    const out = Array.from({ length: heads }, (_, h) => {
      const head = part(q, h, n + ropeDim);
      const [nope, pe] = [head.slice(0, n), rotate(head.slice(n), spec.rope, position)];
      const scores = seen.map((at) => {
        return spec.scale * (dot(nope, keys[at]?.[h] ?? nope) + dot(pe, turned[at] ?? pe));
      });
      const weights = softmax(scores);
      const sum = new Float64Array(v);
      seen.forEach((at, i) => {
        cached[at]?.[h]?.forEach((value, j) => {
          sum[j] = (sum[j] ?? 0) + (weights[i] ?? 0) * value;
        });
      });
      return [...sum];
    });
    return linear(values, tensors.o, Float64Array.from(out.flat()));
  };
}

function indexed(
  { indexer: spec }: MlaSpec,
  values: Values,
  x: Vector,
  low: Vector,
  position: number,
  cached: Vector[],
): number[] {
  if (spec === undefined) return [];
  const { heads, dim, topK, normEps, rope, tensors } = spec;
  const k = linear(values, tensors.k, x);
  const mean = k.reduce((sum, value) => sum + value, 0) / dim;
  const spread = k.reduce((sum, value) => sum + (value - mean) ** 2, 0) / dim;
  const [weight, bias] = [get(values, tensors.kNorm), get(values, `${tensors.kNorm}.bias`)];
  const key = k.map(
    (value, i) =>
      ((value - mean) / Math.sqrt(spread + normEps)) * (weight[i] ?? 0) + (bias[i] ?? 0),
  );
  cached.push(rotate(key, rope, position));
  const all = linear(values, tensors.q, low);
  const queries = Array.from({ length: heads }, (_, h) =>
    rotate(part(all, h, dim), rope, position),
  );
  const weights = linear(values, tensors.weights, x);
  if (position + 1 <= topK) return allUpTo(position);
  const scores = cached.map((other) =>
    queries.reduce((sum, q, h) => sum + (weights[h] ?? 0) * Math.max(0, dot(q, other)), 0),
  );
  return largest(scores, topK);
}

function deltaNet(spec: GatedDeltaNetSpec, values: Values, eps: number): (x: Vector) => Vector {
  const { keyHeads, valueHeads, keyDim: dk, valueDim: dv, convKernel, tensors } = spec;
  const repeat = valueHeads / keyHeads;
  const states = Array.from({ length: valueHeads }, () => new Float64Array(dv * dk));
  const channels = 2 * keyHeads * dk + valueHeads * dv;
  const past: Vector[] = Array.from({ length: convKernel - 1 }, () => new Float64Array(channels));
  const projected = (x: Vector): [qkv: Vector, z: Vector, a: Vector, b: Vector] => {
    if (tensors.qkvz === undefined || tensors.ba === undefined) {
      const names = [tensors.qkv, tensors.z, tensors.a, tensors.b];
      return names.map((name) => linear(values, name ?? '', x)) as [Vector, Vector, Vector, Vector];
    }
    const [all, ba] = [linear(values, tensors.qkvz, x), linear(values, tensors.ba, x)];
    const wide = repeat * dv;
    const pick = (from: number, count: number, each: number, of: Vector): number[] =>
      Array.from({ length: keyHeads }, (_, h) => [
        ...of.slice(h * each + from, h * each + from + count),
      ]).flat();
    const each = 2 * dk + 2 * wide;
    const q = pick(0, dk, each, all);
    const qkv = [...q, ...pick(dk, dk, each, all), ...pick(2 * dk, wide, each, all)];
    const z = pick(2 * dk + wide, wide, each, all);
    const [b, a] = [pick(0, repeat, 2 * repeat, ba), pick(repeat, repeat, 2 * repeat, ba)];
    return [qkv, z, a, b].map((part) => Float64Array.from(part)) as [
      Vector,
      Vector,
      Vector,
      Vector,
    ];
  };
  return (x) => {
    const [qkv, z, a, b] = projected(x);
    const conv = get(values, tensors.conv);
    const line = [...past, qkv];
    const mixed = qkv.map((_, c) =>
      silu(line.reduce((sum, row, t) => sum + (conv[c * convKernel + t] ?? 0) * (row[c] ?? 0), 0)),
    );
    past.push(qkv);
    past.shift();
    const unit = (head: Vector): Vector => {
      const size = Math.sqrt(dot(head, head) + spec.qkNormEps);
      return head.map((value) => value / size);
    };
    const out = states.flatMap((state, h) => {
      const from = Math.floor(h / repeat);
      const q = unit(part(mixed, from, dk)).map((value) => value / Math.sqrt(dk));
      const k = unit(part(mixed.slice(keyHeads * dk), from, dk));
      const v = part(mixed.slice(2 * keyHeads * dk), h, dv);
      const step = (a[h] ?? 0) + (get(values, tensors.dtBias)[h] ?? 0);
      const decay = Math.exp(
        -Math.exp(get(values, tensors.aLog)[h] ?? 0) * Math.log1p(Math.exp(step)),
      );
      const beta = sigmoid(b[h] ?? 0);
      const read = new Float64Array(dv);
      for (let row = 0; row < dv; row += 1) {
        const own = state.subarray(row * dk, (row + 1) * dk);
        for (let i = 0; i < dk; i += 1) own[i] = (own[i] ?? 0) * decay;
        const delta = beta * ((v[row] ?? 0) - dot(own, k));
        for (let i = 0; i < dk; i += 1) own[i] = (own[i] ?? 0) + delta * (k[i] ?? 0);
        read[row] = dot(own, q);
      }
      const gate = part(z, h, dv);
      const act = spec.sigmoidGate === true ? sigmoid : silu;
      return [
        ...rms(read, get(values, tensors.norm), eps).map((value, i) => value * act(gate[i] ?? 0)),
      ];
    });
    return linear(values, tensors.out, Float64Array.from(out));
  };
}
