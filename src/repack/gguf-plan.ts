// What a GGUF model becomes: every matrix stays in the blocks that it has, byte for byte. Pure: headers and a spec in, the plan
// out.

import type { ConvertWay } from '../addon/types.js';
import { FlashmoeError } from '../base/errors.js';
import { layerFileName } from '../base/paths.js';
import { readGgufModel } from '../models/gguf/registry.js';
import { PROJECTIONS } from '../models/names.js';
import { parametersOf } from '../models/parameters.js';
import type { ExpertComponent, ExpertLayout, ModelSpec } from '../models/spec.js';
import type { Quant } from '../models/quant.js';
import type { GgufModelFiles } from './gguf-files.js';
import {
  bytesOf,
  type ExpertTensor,
  type ExpertTensors,
  type Form,
  formOf,
  GgufTensors,
  type Output,
  type Part,
} from './gguf-tensors.js';
import { DENSE_ALIGNMENT, PAGE, roundUp } from './layout.js';
import { wholePlan } from './plan.js';
import type {
  Conversion,
  DenseEntry,
  LayerPlan,
  PackPlan,
  SourcePiece,
  SourceTensor,
} from './types.js';

export interface GgufPlanInput extends GgufModelFiles {
  quant: Quant;
  repo: string;
  commit: string;
}

/** What a plain tensor of an expert must begin on. */
const BIAS_ALIGNMENT = 4;

/** Throws ERR_UNSUPPORTED_MODEL naming the key or tensor, ERR_USAGE for another width. */
export function buildGgufPlan(input: GgufPlanInput): PackPlan {
  const { metadata, inventory, repo, commit, quant } = input;
  if (quant !== '4bit') {
    throw new FlashmoeError('ERR_USAGE', 'a GGUF file keeps the widths that it has', {
      hint: 'leave --quant away, and choose a smaller file with --file',
      subject: '--quant',
    });
  }
  const { architecture, spec } = readGgufModel(metadata, (name) => inventory.tensors.has(name));
  const found = new GgufTensors(input, architecture, spec);
  const { linears, plains, routed } = parametersOf(spec);
  const isPlain = new Set(spec.layers.flatMap(({ mlp }) => routers(mlp)));
  const parts: Part[] = [];
  for (const linear of linears) {
    parts.push(...found.linear(linear, isPlain.has(linear.module)));
    if (linear.bias) plains.push({ name: `${linear.module}.bias`, shape: [linear.rows] });
  }
  const rates = new Set(
    spec.layers.flatMap(({ mixer }) =>
      mixer.kind === 'gated_delta_net' ? [mixer.tensors.aLog] : [],
    ),
  );
  for (const { name, shape } of plains) parts.push(...found.plain(name, shape, rates.has(name)));
  const layouts: ExpertLayout[] = [];
  const experts = routed.map((layer) => found.experts(layer));
  const skipped = found.finish();
  const layers = experts.map((layer) => layerPlan(layer, layouts));
  return wholePlan({
    ...{ schema: 1, quant, repo, commit, spec, shards: inventory.shards },
    ...{ dense: denseOf(parts), layouts, layers, skipped, warnings: [] },
  });
}

function routers(mlp: ModelSpec['layers'][number]['mlp']): string[] {
  if (mlp.kind !== 'moe') return [];
  const gate = mlp.shared?.tensors.sigmoidGate;
  return gate === undefined ? [mlp.tensors.router] : [mlp.tensors.router, gate];
}

type Place = Pick<SourceTensor, 'shard' | 'offset'>;

/** Entries in byte order of their names, as in every dense file. */
function denseOf(parts: readonly Part[]): PackPlan['dense'] {
  const pieces = parts.flatMap((part): (Output & { from: Place; made: boolean })[] =>
    part.kind === 'copy'
      ? [{ ...part.output, from: part, made: false }]
      : part.outputs.map((output) => ({ ...output, from: part.tensor, made: true })),
  );
  pieces.sort((a, b) => Buffer.compare(Buffer.from(a.name), Buffer.from(b.name)));
  let end = 0;
  const offsets = new Map<string, number>();
  const entries = pieces.map(({ name, form, size, from, made }): DenseEntry => {
    const targetOffset = roundUp(end, DENSE_ALIGNMENT);
    end = targetOffset + size;
    offsets.set(name, targetOffset);
    const { shard, offset: sourceOffset } = from;
    return {
      ...{ name, shard, sourceOffset, targetOffset, size },
      ...form,
      ...(made && { made: true }),
    };
  });
  const conversions = parts.flatMap((part) =>
    part.kind === 'copy' ? [] : [madeOf(part, offsets)],
  );
  return {
    ...{ file: 'model_weights.bin', size: end, entries },
    ...(conversions.length > 0 && { conversions }),
  };
}

function madeOf(
  { outputs, tensor, how }: Extract<Part, { kind: 'made' }>,
  offsets: ReadonlyMap<string, number>,
): Conversion {
  const ways = outputs.map(({ name }) => wayTo(offsets.get(name) ?? 0));
  const fixed = { pieces: [pieceOf(tensor)], slice: tensor.size, ...AS_IT_IS, ways };
  const columns = tensor.shape.at(-1) ?? 0;
  if (how !== 'log') return { ...fixed, columns, unit: how.unit };
  const plain = { dtype: 'F32' as const, addend: 0, logOfNegative: true as const };
  return { ...fixed, columns, encoding: 'F32', plain };
}

const AS_IT_IS = {
  ...{ encoding: null, scales: null, likeMlx: false, exact: false, plain: null },
} as const;

function wayTo(weight: number): ConvertWay {
  return { bits: 0, groupSize: 0, offsets: { weight, scales: 0, biases: 0 } };
}

function pieceOf({ shard, offset, size }: SourceTensor): SourcePiece {
  return { shard, offset, size, at: 0 };
}

function layerPlan({ layer, experts, tensors }: ExpertTensors, layouts: ExpertLayout[]): LayerPlan {
  const layout = layoutOf(tensors);
  const text = JSON.stringify(layout);
  let index = layouts.findIndex((known) => JSON.stringify(known) === text);
  if (index === -1) index = layouts.push(layout) - 1;
  const at = (name: string): number =>
    layout.components.find((each) => each.name === name)?.offset ?? 0;
  const conversions = tensors.flatMap((each) => placed(each, experts, at));
  const sources = tensors.flatMap(({ tensor, bias }) =>
    bias === null ? [tensor] : [tensor, bias],
  );
  return {
    ...{ layer, file: layerFileName(layer), layout: index, size: experts * layout.expert_stride },
    shards: [...new Set(sources.map(({ shard }) => shard))].sort(),
    ...{ experts, projections: [], conversions },
  };
}

function layoutOf(tensors: readonly ExpertTensor[]): ExpertLayout {
  const components: ExpertComponent[] = [];
  let end = 0;
  const add = (
    name: string,
    form: Form,
    width: { bits?: number; group_size?: number } = {},
  ): void => {
    const offset = name.endsWith('.bias') ? roundUp(end, BIAS_ALIGNMENT) : end;
    const size = bytesOf(form);
    components.push({ name, offset, size, ...form, ...width });
    end = offset + size;
  };
  for (const name of PROJECTIONS) {
    const found = tensors.find(({ projections }) => projections.includes(name));
    if (found === undefined) continue;
    const { rows, columns, tensor, bias } = found;
    add(`${name}.weight`, formOf(tensor.dtype, [rows, columns]));
    if (bias !== null) add(`${name}.bias`, { dtype: 'F32', shape: [rows] });
  }
  return { expert_size: end, expert_stride: roundUp(end, PAGE), components };
}

function placed(
  { projections, columns, tensor, bias }: ExpertTensor,
  experts: number,
  at: (component: string) => number,
): Conversion[] {
  const spread = (from: SourceTensor, part: string, width: number): Conversion => {
    const slice = from.size / experts;
    const ways = projections.map((name) => wayTo(at(`${name}.${part}`)));
    const turns = projections.length > 1 ? { unit: slice / projections.length } : {};
    return { ...AS_IT_IS, pieces: [pieceOf(from)], slice, ...turns, columns: width, ways };
  };
  const weight = spread(tensor, 'weight', columns);
  return bias === null ? [weight] : [weight, spread(bias, 'bias', bias.shape.at(-1) ?? 0)];
}
