// Rotary frequencies from the two ways config.json writes them: `rope_theta` with `rope_scaling` (older)
// and `rope_parameters` (newer). Computed in double precision here, so that no engine has its own formula.
// YaRN: Peng et al. 2023, as transformers' modeling_rope_utils.py computes it.

import type { RopeSpec } from './spec.js';
import { type Config, unsupported } from './config.js';

/** Fields of a rope object that we understand or that mean nothing for text. Others could change results. */
const KNOWN = new Set([
  'type',
  'rope_type',
  'rope_theta',
  'factor',
  'original_max_position_embeddings',
  'beta_fast',
  'beta_slow',
  'mscale',
  'mscale_all_dim',
  'attention_factor',
  'truncate',
  'partial_rotary_factor',
  // Sections of image positions; with text all three positions are equal and the result is plain RoPE.
  'mrope_section',
  'mrope_interleaved',
]);

export interface YarnScaling {
  factor: number;
  originalPositions: number;
  betaFast: number;
  betaSlow: number;
  mscale: number;
  mscaleAllDim: number;
  attentionFactor: number | null;
  truncate: boolean;
}

export interface RopeParameters {
  theta: number;
  partialFactor: number;
  yarn: YarnScaling | null;
}

/** Reads `rope_parameters`, or `rope_theta` and `rope_scaling`. Throws ERR_UNSUPPORTED_MODEL naming the field. */
export function readRope(config: Config, partialFallback: number): RopeParameters {
  const scaling = config.object('rope_parameters') ?? config.object('rope_scaling');
  for (const key of scaling?.keys() ?? []) {
    if (!KNOWN.has(key)) {
      throw unsupported(scaling?.name(key) ?? key, scaling?.raw(key), [...KNOWN].join(', '));
    }
  }
  const theta = scaling?.has('rope_theta')
    ? scaling.number('rope_theta')
    : config.number('rope_theta');
  const partialFactor =
    scaling?.has('partial_rotary_factor') === true
      ? scaling.number('partial_rotary_factor')
      : config.number('partial_rotary_factor', { fallback: partialFallback });
  return { theta, partialFactor, yarn: scaling && readYarn(scaling) };
}

function readYarn(scaling: Config): YarnScaling | null {
  const key = scaling.has('rope_type') ? 'rope_type' : 'type';
  const type = scaling.string(key, 'default');
  if (type === 'default') return null;
  if (type !== 'yarn') throw unsupported(scaling.name(key), type, '"default", "yarn"');
  return {
    factor: scaling.number('factor'),
    originalPositions: scaling.int('original_max_position_embeddings', { max: 2 ** 26 }),
    betaFast: scaling.number('beta_fast', { fallback: 32 }),
    betaSlow: scaling.number('beta_slow', { fallback: 1 }),
    mscale: scaling.number('mscale', { min: 0, fallback: 0 }),
    mscaleAllDim: scaling.number('mscale_all_dim', { min: 0, fallback: 0 }),
    attentionFactor: scaling.has('attention_factor') ? scaling.number('attention_factor') : null,
    truncate: scaling.bool('truncate', true),
  };
}

/** Rotating dimensions of a head of `headDim`. Throws ERR_UNSUPPORTED_MODEL when they are no pairs. */
export function partialDims({ partialFactor }: RopeParameters, headDim: number): number {
  const dims = headDim * partialFactor;
  if (Number.isInteger(dims) && dims % 2 === 0 && dims <= headDim) return dims;
  throw unsupported('partial_rotary_factor', partialFactor, 'an even share of head_dim');
}

/** `dims` rotating dimensions (even) → frequencies in radians per position and the factor on cos and sin. */
export function ropeSpec(
  parameters: RopeParameters,
  dims: number,
  pairing: RopeSpec['pairing'],
): RopeSpec {
  const { theta, yarn } = parameters;
  const invFreq = Array.from({ length: dims / 2 }, (_, i) => theta ** ((-2 * i) / dims));
  if (yarn === null) return { pairing, dims, invFreq, magnitude: 1 };

  // The dimension whose wavelength makes n turns over the original context.
  const turns = (n: number) =>
    (dims * Math.log(yarn.originalPositions / (2 * Math.PI * n))) / (2 * Math.log(theta));
  const [from, to] = [turns(yarn.betaFast), turns(yarn.betaSlow)];
  const low = Math.max(yarn.truncate ? Math.floor(from) : from, 0);
  let high = Math.min(yarn.truncate ? Math.ceil(to) : to, dims - 1);
  if (low === high) high += 0.001;
  const scaled = invFreq.map((frequency, i) => {
    const ramp = Math.min(Math.max((i - low) / (high - low), 0), 1);
    return frequency * (1 - ramp + ramp / yarn.factor);
  });
  return { pairing, dims, invFreq: scaled, magnitude: yarnMagnitude(yarn) };
}

function mscale(factor: number, scale: number): number {
  return factor <= 1 ? 1 : 0.1 * scale * Math.log(factor) + 1;
}

function yarnMagnitude(yarn: YarnScaling): number {
  if (yarn.attentionFactor !== null) return yarn.attentionFactor;
  if (yarn.mscale > 0 && yarn.mscaleAllDim > 0) {
    return mscale(yarn.factor, yarn.mscale) / mscale(yarn.factor, yarn.mscaleAllDim);
  }
  return mscale(yarn.factor, 1);
}

/** Factor on the softmax scale of latent attention: mscale_all_dim's m, squared. 1 without YaRN. */
export function yarnSoftmaxFactor(yarn: YarnScaling | null): number {
  return yarn === null || yarn.mscaleAllDim === 0
    ? 1
    : mscale(yarn.factor, yarn.mscaleAllDim) ** 2;
}
