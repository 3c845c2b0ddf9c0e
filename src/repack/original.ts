// What an original checkpoint becomes: affine codes where MLX conversions have them, its own where those are exact. Pure:
// headers and a spec in, entries, layouts and conversions out.
// Over 400 lines: each published format is a few lines of the same plan.

import type { ConvertWay } from '../addon/types.js';
import { layerFileName } from '../base/paths.js';
import { Config, unsupported } from '../models/config.js';
import { skipReason, type Projection } from '../models/names.js';
import { type OriginalFacts, originalName } from '../models/original-layout.js';
import { parametersOf } from '../models/parameters.js';
import type { DType, ExpertComponent, ExpertLayout, ModelSpec, QuantMode } from '../models/spec.js';
import {
  ENCODED_BITS,
  type EncodedMatrix,
  FP8_BLOCK,
  refused,
  requireFloat,
  requireShape,
  takeMatrix,
} from './encoded-tensor.js';
import {
  type ExpertBias,
  type ExpertMatrices,
  ExpertTensors,
  type OriginalLayer,
} from './original-experts.js';
import { DTYPE_BYTES } from './safetensors.js';
import type {
  Conversion,
  DenseEntry,
  Inventory,
  LayerPlan,
  PackPlan,
  SourcePiece,
  SourceTensor,
} from './types.js';
import { refuseLeftovers } from './classify.js';
import { DENSE_ALIGNMENT, PAGE, roundUp } from './layout.js';

const GROUP = 64;
const SMALL_GROUP = 32;

/** A dense tensor of the result, and where its bytes come from. */
type DensePart =
  | { name: string; kind: 'copy'; tensor: SourceTensor; shape: number[] }
  | {
      name: string;
      kind: 'convert';
      matrix: EncodedMatrix;
      shape: number[];
      bits: number;
      dtype: 'BF16' | 'F32';
      addend: number;
    };

export interface Original {
  dense: DensePart[];
  layers: OriginalLayer[];
  skipped: string[];
}

/** Throws ERR_UNSUPPORTED_MODEL for a way of quantising that the tensors' shapes don't show to be another. */
export function requireReadable(json: unknown): void {
  const root = Config.of(json);
  const block =
    root.object('quantization_config') ?? root.object('text_config')?.object('quantization_config');
  if (!block) return;
  block.only('quant_method', 'fp8', 'compressed-tensors', 'mxfp4');
  block.only('fmt', 'e4m3');
  block.only('format', 'pack-quantized');
  if (!block.has('weight_block_size')) return;
  const size = block.ints('weight_block_size');
  if (size.length === 2 && size.every((each) => each === FP8_BLOCK)) return;
  throw unsupported(block.name('weight_block_size'), size, `[${FP8_BLOCK}, ${FP8_BLOCK}]`);
}

/** Every tensor finds its place. Throws ERR_UNSUPPORTED_MODEL naming what is unknown, missing or of another shape. */
export function classifyOriginal(
  inventory: Inventory,
  spec: ModelSpec,
  facts: OriginalFacts,
  likeMlx: boolean,
): Original {
  const rest = new Map<string, SourceTensor>();
  const experts = new ExpertTensors();
  const skipped: string[] = [];
  const tied = spec.lmHead === spec.embed;
  for (const [source, tensor] of inventory.tensors) {
    const name = originalName(source);
    if (skipReason(name, spec.layers.length, tied) !== null) skipped.push(source);
    else if (!experts.add(name, tensor)) {
      if (rest.has(name)) throw refused(`${JSON.stringify(source)} occurs twice`, source);
      rest.set(name, tensor);
    }
  }
  const take = (name: string): SourceTensor | null => {
    const tensor = rest.get(name) ?? null;
    rest.delete(name);
    return tensor;
  };
  const { linears, plains, routed, tables } = parametersOf(spec);
  if (tables.length > 0) {
    throw refused('n-gram rows of an original checkpoint are not supported', 'model_type');
  }
  const [gates, shifted] = [gatesOf(spec), facts.normsLessOne ? normsOf(spec) : new Set<string>()];
  const missing: string[] = [];
  const dense: DensePart[] = [];
  for (const { module, lead, rows, columns, bias } of linears) {
    const shape = [...lead, rows, columns];
    const matrix = takeMatrix(module, shape, take);
    if (bias) plains.push({ name: `${module}.bias`, shape: [...lead, rows] });
    if (matrix === null) {
      missing.push(`${module}.weight`);
      continue;
    }
    const bits = gates.has(module) ? (facts.gateBits ?? 0) : (facts.denseBits ?? 4);
    dense.push(linearPart(`${module}.weight`, matrix, shape, bits));
  }
  for (const { name, shape } of plains) {
    const tensor = take(name);
    if (tensor === null) {
      missing.push(name);
      continue;
    }
    requireFloat(name, tensor);
    // [C, 1, K] and [C, K, 1] are the same bytes.
    const isRaw = tensor.shape.length === 3 && tensor.shape[1] === 1 && shape.at(-1) === 1;
    requireShape(name, tensor, isRaw ? [shape[0] ?? 0, 1, shape[1] ?? 0] : shape);
    const isTurned = shape.length === 3 && !isRaw && shifted.size > 0;
    if (isTurned) throw refused(`${name} is in MLX's layout, the experts are not`, name);
    if (shifted.has(name)) dense.push(normPart(name, tensor, shape, likeMlx));
    else dense.push({ name, kind: 'copy', tensor, shape });
  }
  const layers = missing.length > 0 ? [] : routed.map((layer) => experts.take(layer));
  refuseLeftovers([...rest.keys(), ...experts.left()], missing);
  return { dense, layers, skipped: skipped.sort() };
}

function linearPart(name: string, matrix: EncodedMatrix, shape: number[], bits: number): DensePart {
  const isPlain = matrix.encoding !== 'F8_E4M3' && matrix.encoding !== 'int4';
  if (bits === 0 && isPlain) return { name, kind: 'copy', tensor: matrix.tensor, shape };
  const columns = shape.at(-1) ?? 0;
  // As MLX: rows that aren't whole groups are not quantised.
  const fits = columns % SMALL_GROUP === 0;
  if (!fits && isPlain) return { name, kind: 'copy', tensor: matrix.tensor, shape };
  return { name, kind: 'convert', matrix, shape, bits: fits ? bits : 0, dtype: 'F32', addend: 0 };
}

/** F32 keeps all of the sum; MLX rounds it to BF16. */
function normPart(
  name: string,
  tensor: SourceTensor,
  shape: number[],
  likeMlx: boolean,
): DensePart {
  const encoding = tensor.dtype as 'BF16' | 'F16' | 'F32';
  const matrix: EncodedMatrix = { encoding, tensor, scales: null, groupSize: 0 };
  return {
    name,
    kind: 'convert',
    matrix,
    shape,
    bits: 0,
    dtype: likeMlx ? 'BF16' : 'F32',
    addend: 1,
  };
}

function gatesOf(spec: ModelSpec): Set<string> {
  return new Set(
    spec.layers.flatMap(({ mlp }) => {
      if (mlp.kind !== 'moe') return [];
      const gate = mlp.shared?.tensors.sigmoidGate;
      return [mlp.tensors.router, ...(gate === undefined ? [] : [gate])];
    }),
  );
}

function normsOf(spec: ModelSpec): Set<string> {
  const norms = [
    spec.finalNorm,
    ...spec.layers.flatMap(({ inputNorm, postNorm, mixer }) => {
      const heads = mixer.kind === 'gqa' ? [mixer.tensors.qNorm, mixer.tensors.kNorm] : [];
      return [inputNorm, postNorm, ...heads.filter((each) => each !== undefined)];
    }),
  ];
  return new Set(norms.map((name) => `${name}.weight`));
}

/** Entries in byte order of their names, as denseLayout has them, and what makes those that are no copies. */
export function originalDense(parts: readonly DensePart[], likeMlx: boolean): PackPlan['dense'] {
  interface Piece {
    name: string;
    part: DensePart;
    size: number;
    entry: Pick<DenseEntry, 'shape' | 'dtype' | 'bits' | 'group_size'>;
  }
  const pieces = parts.flatMap((part): Piece[] => {
    const { name, shape } = part;
    if (part.kind === 'copy') {
      const { dtype, size } = part.tensor;
      return [{ name, part, size, entry: { shape, dtype: dtype as DType } }];
    }
    const sized = (suffix: string, entry: Piece['entry']): Piece => ({
      ...{
        name: suffix === 'weight' ? name : name.replace(/\.weight$/, `.${suffix}`),
        part,
        entry,
      },
      size: elements(entry.shape) * (DTYPE_BYTES[entry.dtype] ?? 0),
    });
    if (part.bits === 0) return [sized('weight', { shape, dtype: part.dtype })];
    const [lead, columns] = [shape.slice(0, -1), shape.at(-1) ?? 0];
    const group = groupOf(columns);
    const words = [...lead, (columns * part.bits) / 32];
    const groups = [...lead, columns / group];
    return [
      sized('weight', { shape: words, dtype: 'U32', bits: part.bits, group_size: group }),
      sized('scales', { shape: groups, dtype: 'BF16' }),
      sized('biases', { shape: groups, dtype: 'BF16' }),
    ];
  });
  pieces.sort((a, b) => Buffer.compare(Buffer.from(a.name), Buffer.from(b.name)));
  let end = 0;
  const offsets = new Map<string, number>();
  const entries = pieces.map(({ name, part, size, entry }): DenseEntry => {
    const targetOffset = roundUp(end, DENSE_ALIGNMENT);
    end = targetOffset + size;
    offsets.set(name, targetOffset);
    const { shard, offset: sourceOffset } = part.kind === 'copy' ? part.tensor : part.matrix.tensor;
    const made = part.kind === 'copy' ? {} : { made: true as const };
    return { name, shard, sourceOffset, targetOffset, size, ...entry, ...made };
  });
  const conversions = parts.flatMap((part) => {
    if (part.kind === 'copy') return [];
    const at = (suffix: string) => offsets.get(part.name.replace(/\.weight$/, `.${suffix}`)) ?? 0;
    const columns = part.shape.at(-1) ?? 0;
    const way: ConvertWay = {
      ...{ bits: part.bits, groupSize: part.bits === 0 ? 0 : groupOf(columns) },
      offsets: { weight: offsets.get(part.name) ?? 0, scales: at('scales'), biases: at('biases') },
    };
    const { tensor, scales, encoding, groupSize } = part.matrix;
    const plain = part.bits === 0 ? { dtype: part.dtype, addend: part.addend } : null;
    return [
      {
        ...{ pieces: [pieceOf(tensor)], slice: tensor.size, encoding, columns },
        scales: scales && {
          ...{ pieces: [pieceOf(scales)], slice: scales.size, groupSize },
          dtype: scales.dtype as 'BF16' | 'F16' | 'F32',
        },
        ...{ likeMlx, exact: false, plain, ways: [way] },
      },
    ];
  });
  return { file: 'model_weights.bin', size: end, entries, conversions };
}

/** Bits of each projection in the layer file; 0 leaves values as plain BF16 or F32. */
export type BitsOf = (projection: Projection) => number;

/** A layer's conversions, with its layout in `layouts`. */
export function originalLayer(
  layer: OriginalLayer,
  bitsOf: BitsOf,
  likeMlx: boolean,
  layouts: ExpertLayout[],
): LayerPlan {
  const targets = new Map<Projection, Target>();
  for (const matrices of layer.matrices) {
    const { projections, encoding } = matrices;
    // Rows that take turns can stay as they are only together.
    const together = encoding === 'mxfp4' ? Math.min(...projections.map(bitsOf)) : null;
    for (const name of projections) targets.set(name, targetOf(matrices, together ?? bitsOf(name)));
  }
  const layout = layoutOf(layer, targets);
  const text = JSON.stringify(layout);
  let index = layouts.findIndex((known) => JSON.stringify(known) === text);
  if (index === -1) index = layouts.push(layout) - 1;
  const offsetOf = (name: string): number =>
    layout.components.find((each) => each.name === name)?.offset ?? 0;
  const conversions = [
    ...layer.matrices.flatMap((each) => converted(each, layer, targets, offsetOf, likeMlx)),
    ...layer.biases.map((bias) => biasPlaced(bias, layer, offsetOf)),
  ];
  const pieces = conversions.flatMap(({ pieces: own, scales }) => [
    ...own,
    ...(scales?.pieces ?? []),
  ]);
  return {
    ...{ layer: layer.layer, file: layerFileName(layer.layer), layout: index },
    size: layer.experts * layout.expert_stride,
    shards: [...new Set(pieces.map(({ shard }) => shard))].sort(),
    ...{ experts: layer.experts, projections: [], conversions },
  };
}

/** How a projection is stored. `keeps`: the source's own codes and scales. */
interface Target {
  bits: number;
  groupSize: number;
  mode: QuantMode;
  dtype: DType;
  keeps: boolean;
}

function targetOf(
  { encoding, columns, groupSize, scaleType }: ExpertMatrices,
  bits: number,
): Target {
  if (bits === 4 && encoding === 'int4') {
    return { bits, groupSize, mode: 'affine', dtype: scaleType as DType, keeps: true };
  }
  if (bits === 4 && encoding === 'mxfp4') {
    return { bits, groupSize, mode: 'mxfp4', dtype: 'U8', keeps: true };
  }
  const isPlain = bits === 0 || columns % SMALL_GROUP !== 0;
  const dtype = isPlain && encoding !== 'BF16' ? 'F32' : 'BF16';
  const width = isPlain ? { bits: 0, groupSize: 0 } : { bits, groupSize: groupOf(columns) };
  return { ...width, mode: 'affine', dtype, keeps: false };
}

function layoutOf(layer: OriginalLayer, targets: ReadonlyMap<Projection, Target>): ExpertLayout {
  const components: ExpertComponent[] = [];
  let offset = 0;
  const add = (component: Omit<ExpertComponent, 'offset' | 'size'>): void => {
    const size = elements(component.shape) * (DTYPE_BYTES[component.dtype] ?? 0);
    components.push({ ...component, offset, size });
    offset += size;
  };
  for (const { projections, rows, columns } of layer.matrices) {
    for (const name of projections) {
      const target = targets.get(name);
      if (target === undefined) continue;
      const { bits, groupSize: group_size, mode, dtype } = target;
      if (bits === 0) add({ name: `${name}.weight`, dtype, shape: [rows, columns] });
      else {
        const words = [rows, (columns * bits) / 32];
        const odd = mode === 'affine' ? {} : { mode };
        add({ name: `${name}.weight`, dtype: 'U32', shape: words, bits, group_size, ...odd });
        add({ name: `${name}.scales`, dtype, shape: [rows, columns / group_size] });
        if (mode === 'affine')
          add({ name: `${name}.biases`, dtype, shape: [rows, columns / group_size] });
      }
      const bias = layer.biases.find((each) => each.projections.includes(name));
      if (bias) add({ name: `${name}.bias`, dtype: bias.tensor.dtype as DType, shape: [rows] });
    }
  }
  return { expert_size: offset, expert_stride: roundUp(offset, PAGE), components };
}

type OffsetOf = (component: string) => number;

function converted(
  matrices: ExpertMatrices,
  { experts }: OriginalLayer,
  targets: ReadonlyMap<Projection, Target>,
  offsetOf: OffsetOf,
  likeMlx: boolean,
): Conversion[] {
  const { projections, sharing, rows, columns, encoding, groupSize, pieces, scales } = matrices;
  const slice = total(pieces) / experts;
  const rowBytes = (columns * ENCODED_BITS[encoding]) / 8;
  const turns = (row: number) =>
    sharing === null ? {} : { unit: sharing === 'rows' ? row : rows * row };
  const ways = projections.map((name): ConvertWay => {
    const { bits = 0, groupSize: group = 0 } = targets.get(name) ?? {};
    const at = (part: string) => offsetOf(`${name}.${part}`);
    const offsets = { weight: at('weight'), scales: at('scales'), biases: at('biases') };
    return { bits, groupSize: group, offsets };
  });
  const goals = projections.flatMap((name) => targets.get(name) ?? []);
  const keeps = goals.filter((goal) => goal.keeps);
  if (keeps.length > 0 && encoding === 'mxfp4' && scales !== null) {
    // Codes and scales are those of the target, only their rows take turns.
    const whole = { columns, scales: null, likeMlx, exact: false, plain: null, encoding: null };
    const scaleWays = ways.map((way) => ({
      ...way,
      offsets: { ...way.offsets, weight: way.offsets.scales },
    }));
    return [
      { ...whole, pieces, slice, ways, ...turns(rowBytes) },
      ...[
        {
          ...whole,
          pieces: scales,
          slice: total(scales) / experts,
          ways: scaleWays,
          ...turns(columns / groupSize),
        },
      ],
    ];
  }
  const [goal] = goals;
  const plain = goal?.bits === 0 ? { dtype: goal.dtype as 'BF16' | 'F32', addend: 0 } : null;
  const own = scales && {
    ...{ pieces: scales, slice: total(scales) / experts, groupSize },
    dtype: (matrices.scaleType === 'U8' ? 'BF16' : matrices.scaleType) as 'BF16' | 'F16' | 'F32',
  };
  const exact = keeps.length > 0;
  return [
    {
      pieces,
      slice,
      ...turns(rowBytes),
      encoding,
      columns,
      scales: own,
      likeMlx,
      exact,
      plain,
      ways,
    },
  ];
}

function biasPlaced(
  { projections, rows, tensor }: ExpertBias,
  { experts }: OriginalLayer,
  offsetOf: OffsetOf,
): Conversion {
  const unit = DTYPE_BYTES[tensor.dtype] ?? 0;
  const ways = projections.map((name): ConvertWay => {
    const offsets = { weight: offsetOf(`${name}.bias`), scales: 0, biases: 0 };
    return { bits: 0, groupSize: 0, offsets };
  });
  return {
    ...{ pieces: [pieceOf(tensor)], slice: tensor.size / experts, encoding: null, columns: rows },
    ...{ scales: null, likeMlx: false, exact: false, plain: null, ways },
    ...(projections.length > 1 && { unit }),
  };
}

function groupOf(columns: number): number {
  return columns % GROUP === 0 ? GROUP : SMALL_GROUP;
}

function pieceOf({ shard, offset, size }: SourceTensor): SourcePiece {
  return { shard, offset, size, at: 0 };
}

function total(pieces: readonly SourcePiece[]): number {
  return pieces.reduce((sum, { size }) => sum + size, 0);
}

function elements(shape: readonly number[]): number {
  return shape.reduce((product, d) => product * d, 1);
}
