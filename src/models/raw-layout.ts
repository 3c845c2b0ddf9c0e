// Tells checkpoints as their authors publish them from MLX conversions. Several need arithmetic (norms plus one, swapped
// convolution axes, stacked experts); reading the one as the other would give a model that talks nonsense.

import { FlashmoeError } from '../base/errors.js';

export interface NamedTensor {
  name: string;
  dtype: string;
  shape: readonly number[];
}

interface Marker {
  test: (tensor: NamedTensor) => boolean;
  meaning: string;
}

const FOREIGN: Marker[] = [
  { test: (t) => /\.(qweight|qzeros)$/.test(t.name), meaning: 'AWQ or GPTQ weights' },
  { test: (t) => t.dtype === 'F8_E5M2', meaning: 'FP8 weights of another kind' },
];

const ORIGINAL: Marker[] = [
  {
    test: (t) => t.name.endsWith('_scale_inv') || t.dtype.startsWith('F8_'),
    meaning: 'fp8 weights with block scales',
  },
  {
    test: (t) => /\.weight_(packed|scale|shape)$/.test(t.name),
    meaning: 'compressed-tensors int4 weights',
  },
  {
    test: (t) => t.name.startsWith('model.language_model.'),
    meaning: 'original upstream tensor names',
  },
  { test: (t) => /\.mlp\.experts\.gate_up_proj$/.test(t.name), meaning: 'fused experts' },
  { test: (t) => /\.mlp\.experts\.\d+\./.test(t.name), meaning: 'one tensor per expert' },
  {
    test: (t) => t.name.endsWith('.conv1d.weight') && t.shape.at(-1) !== 1,
    meaning: 'original convolution layout [C, 1, K], whose norms also lack the added 1',
  },
];

/**
 * Whether these are an original checkpoint's tensors and no MLX conversion's. Throws ERR_UNSUPPORTED_MODEL naming the first
 * tensor that belongs to neither.
 */
export function isOriginalLayout(tensors: Iterable<NamedTensor>): boolean {
  const all = [...tensors].filter(({ name }) => !name.includes('mtp.'));
  for (const tensor of all) {
    const marker = FOREIGN.find(({ test }) => test(tensor));
    if (marker) throw refusal(tensor, marker.meaning);
  }
  // Nobody else stacks experts under this name, so that a conversion without any quantisation is known by it.
  const isConverted = all.some(
    ({ name }) => name.endsWith('.scales') || name.includes('.switch_mlp.'),
  );
  if (!isConverted) return true;
  // A mixture of both: no rule says what its norms are.
  for (const tensor of all) {
    const marker = ORIGINAL.find(({ test }) => test(tensor));
    if (marker) throw refusal(tensor, `${marker.meaning} in an MLX conversion`);
  }
  return false;
}

function refusal({ name, dtype, shape }: NamedTensor, meaning: string): FlashmoeError {
  const found = `${JSON.stringify(name)} (${dtype} [${shape.join(', ')}])`;
  return new FlashmoeError(
    'ERR_UNSUPPORTED_MODEL',
    `${found} means ${meaning}, which is not supported; supported are MLX conversions, and originals in BF16, F16, F32, FP8 with blocks of 128, compressed-tensors int4 or MXFP4`,
    { subject: name, hint: 'choose an MLX conversion of the model, for example from mlx-community' },
  );
}
