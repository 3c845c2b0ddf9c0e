// Which tensor names of an MLX checkpoint belong to the text model. What is neither left out for a known
// reason nor expected by the spec is an error, never ignored: a forgotten tensor still lets a model talk.

/** Stacked expert weights of a decoder layer, as MLX names them. */
const EXPERT =
  /^(.*\.layers\.(\d+)\..*)\.(?:switch_mlp|experts)\.(gate_proj|up_proj|down_proj)\.(weight|scales|biases|bias)$/;

const VISION = /^(vision_tower|model\.visual|vision_model|multi_modal_projector|mm_projector)\./;

export const PROJECTIONS = ['gate_proj', 'up_proj', 'down_proj'] as const;
/** `bias` is what is added to a projection's results, `biases` belongs to its quantisation. */
export const PARTS = ['weight', 'scales', 'biases', 'bias'] as const;
export type Projection = (typeof PROJECTIONS)[number];
export type Part = (typeof PARTS)[number];

export interface ExpertName {
  layer: number;
  projection: Projection;
  part: Part;
}

/** Name in model_weights.json: the source's without the text model's prefix. */
export function manifestName(sourceName: string): string {
  return sourceName.startsWith('language_model.')
    ? sourceName.slice('language_model.'.length)
    : sourceName;
}

/** `name` is a manifest name. */
export function parseExpertName(name: string): ExpertName | null {
  const match = EXPERT.exec(name);
  if (match === null) return null;
  return {
    layer: Number(match[2]),
    projection: match[3] as Projection,
    part: match[4] as Part,
  };
}

/** Why a tensor is left out on purpose, or null. `name` is a manifest name. */
export function skipReason(name: string, layers: number, tied: boolean): string | null {
  if (VISION.test(name)) return 'image encoder';
  if (name.includes('mtp.')) return 'multi-token prediction';
  if (name.endsWith('.rotary_emb.inv_freq')) return 'recomputed';
  if (tied && name.startsWith('lm_head.')) return 'tied to the embedding';
  const layer = /^model\.layers\.(\d+)\./.exec(name);
  // Numbers beyond 2^53 are no layers of anything, and compare right all the same.
  if (layer !== null && Number(layer[1]) >= layers) return 'multi-token prediction';
  return null;
}
