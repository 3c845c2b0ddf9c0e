// Recognises checkpoints that are not MLX conversions. Several need arithmetic on load (norms plus one,
// swapped convolution axes, stacked experts); reading them as MLX would give a model that talks nonsense.

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

const MARKERS: Marker[] = [
  {
    test: (t) => t.name.endsWith('_scale_inv') || t.dtype.startsWith('F8_'),
    meaning: 'fp8 weights with block scales',
  },
  {
    test: (t) => /\.weight_(packed|scale|shape)$/.test(t.name),
    meaning: 'compressed-tensors int4 weights',
  },
  { test: (t) => /\.(qweight|qzeros)$/.test(t.name), meaning: 'AWQ or GPTQ weights' },
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

/** Throws ERR_UNSUPPORTED_MODEL naming the first tensor that gives the layout away. */
export function refuseRawLayout(tensors: Iterable<NamedTensor>): void {
  let isConverted = false;
  for (const tensor of tensors) {
    // Nobody else stacks experts under this name, so that a conversion without any quantisation is known by it.
    if (tensor.name.endsWith('.scales') || tensor.name.includes('.switch_mlp.')) isConverted = true;
    // The prediction head is left out anyway and may stand there in its original form.
    if (tensor.name.includes('mtp.')) continue;
    const marker = MARKERS.find(({ test }) => test(tensor));
    if (marker) {
      throw refusal(`${JSON.stringify(tensor.name)} (${tensor.dtype} [${tensor.shape.join(', ')}])`, marker.meaning);
    }
  }
  if (!isConverted) {
    throw refusal('no tensor named *.scales or *.switch_mlp.*', 'an unquantised checkpoint');
  }
}

function refusal(found: string, meaning: string): FlashmoeError {
  return new FlashmoeError(
    'ERR_UNSUPPORTED_MODEL',
    `the repository is not an MLX affine conversion: ${found} means ${meaning}; supported: MLX conversions with 2, 4 or 8 bits or unquantised`,
    { subject: found, hint: 'choose an MLX conversion of the model, for example from mlx-community' },
  );
}
