// Every tensor of an inventory gets one place: dense, routed expert, or left out for a stated reason.
// Widths come from shapes; whatever is missing, left over or of another shape stops here, by name.

import { FlashmoeError } from '../base/errors.js';
import {
  manifestName,
  parseExpertName,
  PROJECTIONS,
  type Projection,
  skipReason,
} from '../models/names.js';
import { parametersOf, type RoutedExperts, type Table } from '../models/parameters.js';
import {
  checkWidth,
  floatMode,
  type QuantizationBlock,
  type Width,
  widthConflict,
} from '../models/quantization.js';
import type { ModelSpec } from '../models/spec.js';
import type { Inventory, SourceTensor } from './types.js';

/** What may occur in packed files. */
const FLOATS = ['BF16', 'F16', 'F32'];

export interface DenseSource {
  name: string;
  tensor: SourceTensor;
  /** On the `.weight` of a quantised linear. */
  width: Width | null;
}

/** Where all experts' values of one component are in the checkpoint. */
export type StackedSource = Pick<SourceTensor, 'shard' | 'offset' | 'size' | 'dtype'>;

export interface RoutedProjection {
  name: Projection;
  /** Logical dimensions of one expert. */
  rows: number;
  columns: number;
  /** null: plain weights without scales and biases. */
  width: Width | null;
  weight: StackedSource;
  scales: StackedSource | null;
  biases: StackedSource | null;
  /** Added to the projection's results. */
  bias: StackedSource | null;
}

export interface RoutedLayer {
  layer: number;
  experts: number;
  projections: RoutedProjection[];
}

/** One part of a table of rows. */
export interface TablePart {
  weight: StackedSource;
  scales: StackedSource | null;
  biases: StackedSource | null;
}

/** Where everything that a plan packs besides dense tensors lies. */
export interface Packable {
  routed: RoutedLayer[];
  tables: RowTableSource[];
}

export interface RowTableSource {
  layer: number;
  /** Of each part. */
  rows: number;
  columns: number;
  width: Width | null;
  parts: TablePart[];
}

export interface Classified {
  dense: DenseSource[];
  routed: RoutedLayer[];
  tables: RowTableSource[];
  skipped: string[];
  warnings: string[];
}

/** Throws ERR_UNSUPPORTED_MODEL listing every unknown and every missing name, or the module whose shape is wrong. */
export function classify(
  inventory: Inventory,
  spec: ModelSpec,
  block: QuantizationBlock | null,
): Classified {
  const { rest, experts, skipped } = sortNames(inventory, spec);
  const conflicts = new Conflicts(block);
  const missing: string[] = [];
  const dense: DenseSource[] = [];
  const take = (from: Map<string, SourceTensor>, name: string): SourceTensor | null => {
    const tensor = from.get(name);
    if (tensor === undefined) return null;
    from.delete(name);
    return tensor;
  };

  const { linears, plains, routed, tables } = parametersOf(spec);
  for (const { module, lead, rows, columns, bias } of linears) {
    const weight = take(rest, `${module}.weight`);
    if (weight === null) {
      missing.push(`${module}.weight`);
      continue;
    }
    const scales = take(rest, `${module}.scales`);
    const biases = take(rest, `${module}.biases`);
    const width = checkTriple(module, [...lead, rows, columns], { weight, scales, biases });
    conflicts.add(module, width);
    dense.push({ name: `${module}.weight`, tensor: weight, width });
    if (scales) dense.push({ name: `${module}.scales`, tensor: scales, width: null });
    if (biases) dense.push({ name: `${module}.biases`, tensor: biases, width: null });
    if (bias) plains.push({ name: `${module}.bias`, shape: [...lead, rows] });
  }
  for (const { name, shape, isInteger = false } of plains) {
    const tensor = take(rest, name);
    if (tensor === null) missing.push(name);
    else {
      if (isInteger) checkIntegers(name, tensor, shape);
      else checkPlain(name, tensor, shape);
      dense.push({ name, tensor, width: null });
    }
  }
  const layers = routed.map((layer) => routedLayer(layer, experts, conflicts, missing));
  const rows = tables.flatMap((table) =>
    rowTable(table, (name) => take(rest, name), conflicts, missing),
  );
  refuseLeftovers([...rest.keys(), ...experts.keys()], missing);
  return { dense, routed: layers, tables: rows, skipped, warnings: conflicts.sentences() };
}

/** All parts alike: their rows stand behind each other in one file. */
function rowTable(
  { layer, module, parts, columns }: Table,
  take: (name: string) => SourceTensor | null,
  conflicts: Conflicts,
  missing: string[],
): RowTableSource[] {
  const found: TablePart[] = [];
  let [rows, width, dtype]: [number, Width | null, string] = [0, null, ''];
  for (let index = 0; index < parts; index += 1) {
    const name = `${module}_${index}`;
    const weight = take(`${name}.weight`);
    if (weight === null) {
      missing.push(`${name}.weight`);
      continue;
    }
    const [scales, biases] = [take(`${name}.scales`), take(`${name}.biases`)];
    if (index === 0) rows = weight.shape[0] ?? 0;
    const own = checkTriple(name, [rows, columns], { weight, scales, biases });
    conflicts.add(name, own);
    if (own !== null && own.mode !== 'affine') {
      throw wrongShape(`${name}.weight`, weight, 'affine codes or plain values');
    }
    const type = (scales ?? weight).dtype;
    if (index === 0) [width, dtype] = [own, type];
    if (own?.bits !== width?.bits || own?.groupSize !== width?.groupSize || type !== dtype) {
      throw refusal(`${name} is stored in another width than the table's first part`, name);
    }
    found.push({ weight, scales, biases });
  }
  return found.length === parts ? [{ layer, rows, columns, width, parts: found }] : [];
}

function checkIntegers(name: string, tensor: SourceTensor, shape: number[]): void {
  requireShape(name, tensor, shape);
  if (tensor.dtype !== 'I64') throw wrongShape(name, tensor, 'I64');
}

function sortNames(inventory: Inventory, spec: ModelSpec) {
  const rest = new Map<string, SourceTensor>();
  const experts = new Map<string, SourceTensor>();
  const skipped: string[] = [];
  const tied = spec.lmHead === spec.embed;
  for (const [source, tensor] of inventory.tensors) {
    const name = manifestName(source);
    const expert = parseExpertName(name);
    if (skipReason(name, spec.layers.length, tied) !== null) {
      skipped.push(source);
      continue;
    }
    const [to, key] =
      expert === null
        ? [rest, name]
        : [experts, expertKey(expert.layer, expert.projection, expert.part)];
    const other = to.get(key);
    if (other !== undefined) {
      throw refusal(`${quote(source)} and ${quote(other.name)} are the same parameter`, source);
    }
    to.set(key, tensor);
  }
  return { rest, experts, skipped: skipped.sort() };
}

function expertKey(layer: number, projection: string, part: string): string {
  return `model.layers.${layer}.mlp.switch_mlp.${projection}.${part}`;
}

function routedLayer(
  { layer, experts, hiddenSize, intermediateSize, bias: isBiased }: RoutedExperts,
  tensors: Map<string, SourceTensor>,
  conflicts: Conflicts,
  missing: string[],
): RoutedLayer {
  const projections: RoutedProjection[] = [];
  for (const name of PROJECTIONS) {
    const part = (suffix: string) => {
      const key = expertKey(layer, name, suffix);
      const tensor = tensors.get(key) ?? null;
      tensors.delete(key);
      return tensor;
    };
    const [weight, scales, biases] = [part('weight'), part('scales'), part('biases')];
    const bias = isBiased ? part('bias') : null;
    if (weight === null || (isBiased && bias === null)) {
      const what = weight === null ? 'weight' : 'bias';
      missing.push(`model.layers.${layer}.mlp.switch_mlp.${name}.${what}`);
      continue;
    }
    // As the source names it: overrides of the quantisation go by that name.
    const module = manifestName(weight.name).slice(0, -'.weight'.length);
    const isDown = name === 'down_proj';
    const rows = isDown ? hiddenSize : intermediateSize;
    const columns = isDown ? intermediateSize : hiddenSize;
    const width = checkTriple(module, [experts, rows, columns], { weight, scales, biases });
    conflicts.add(module, width);
    if (bias !== null) checkPlain(`${module}.bias`, bias, [experts, rows]);
    projections.push({ name, rows, columns, width, weight, scales, biases, bias });
  }
  return { layer, experts, projections };
}

/** Width of a linear whose logical shape is `shape`, after checking every part of it against that shape. */
function checkTriple(
  module: string,
  shape: number[],
  parts: { weight: SourceTensor; scales: SourceTensor | null; biases: SourceTensor | null },
): Width | null {
  const { weight, scales, biases } = parts;
  if (scales === null && biases === null) {
    checkPlain(`${module}.weight`, weight, shape);
    return null;
  }
  if (scales?.dtype === 'U8' && biases === null)
    return checkFloatMode(module, shape, weight, scales);
  if (scales === null || biases === null) {
    throw refusal(`${module} has only one of scales and biases`, module);
  }
  const columns = shape.at(-1) ?? 0;
  const lead = shape.slice(0, -1);
  const bits = ((weight.shape.at(-1) ?? 0) * 32) / columns;
  const groupSize = columns / (scales.shape.at(-1) ?? 0);
  if (weight.dtype !== 'U32' || !Number.isInteger(bits) || !Number.isInteger(groupSize)) {
    throw wrongShape(`${module}.weight`, weight, `quantised [${shape.join(', ')}]`);
  }
  checkWidth(module, { bits, groupSize, mode: 'affine' });
  requireShape(`${module}.weight`, weight, [...lead, (columns * bits) / 32]);
  for (const [part, tensor] of [
    ['scales', scales],
    ['biases', biases],
  ] as const) {
    requireShape(`${module}.${part}`, tensor, [...lead, columns / groupSize]);
    if (!FLOATS.includes(tensor.dtype) || tensor.dtype !== scales.dtype) {
      throw wrongShape(
        `${module}.${part}`,
        tensor,
        `${FLOATS.join(', ')}, scales and biases alike`,
      );
    }
  }
  return { bits, groupSize, mode: 'affine' };
}

/** Codes of a floating point mode: one byte of scale a group, no biases. */
function checkFloatMode(
  module: string,
  shape: number[],
  weight: SourceTensor,
  scales: SourceTensor,
): Width {
  const columns = shape.at(-1) ?? 0;
  const lead = shape.slice(0, -1);
  const bits = ((weight.shape.at(-1) ?? 0) * 32) / columns;
  const groupSize = columns / (scales.shape.at(-1) ?? 0);
  const mode = floatMode(bits, groupSize);
  if (weight.dtype !== 'U32' || mode === null) {
    throw wrongShape(`${module}.weight`, weight, `mxfp4, nvfp4 or mxfp8 of [${shape.join(', ')}]`);
  }
  requireShape(`${module}.weight`, weight, [...lead, (columns * bits) / 32]);
  requireShape(`${module}.scales`, scales, [...lead, columns / groupSize]);
  return { bits, groupSize, mode };
}

function checkPlain(name: string, tensor: SourceTensor, shape: number[]): void {
  requireShape(name, tensor, shape);
  if (!FLOATS.includes(tensor.dtype)) throw wrongShape(name, tensor, FLOATS.join(', '));
}

function requireShape(name: string, tensor: SourceTensor, shape: number[]): void {
  const same = tensor.shape.length === shape.length && shape.every((d, i) => d === tensor.shape[i]);
  if (!same) throw wrongShape(name, tensor, `[${shape.join(', ')}]`);
}

function wrongShape(name: string, tensor: SourceTensor, needed: string): FlashmoeError {
  return refusal(
    `${name} is ${tensor.dtype} [${tensor.shape.join(', ')}] in ${tensor.shard}; config.json needs ${needed}`,
    name,
  );
}

/** Enough to see what kind of checkpoint it is. */
const MOST_NAMES = 8;

export function refuseLeftovers(unknown: string[], missing: string[], said = 'config.json'): void {
  if (unknown.length === 0 && missing.length === 0) return;
  const list = (title: string, names: string[]) => {
    if (names.length === 0) return '';
    const shown = names.sort().slice(0, MOST_NAMES).map(quote).join('\n  ');
    const more = names.length - MOST_NAMES;
    return `\n${title}:\n  ${shown}${more > 0 ? `\n  and ${more} more` : ''}`;
  };
  throw refusal(
    `the tensors don't fit ${said}: ${unknown.length} unknown, ${missing.length} missing` +
      list('unknown', unknown) +
      list('missing', missing),
    unknown[0] ?? missing[0],
  );
}

/** Names come from the network: no control character of theirs reaches a terminal. */
function quote(name: string): string {
  return JSON.stringify(name);
}

function refusal(message: string, subject: string | undefined): FlashmoeError {
  return new FlashmoeError('ERR_UNSUPPORTED_MODEL', message, { subject });
}

/** Disagreements between config.json and shapes, one sentence for all modules that disagree in the same way. */
class Conflicts {
  private readonly modules = new Map<string, string[]>();
  constructor(private readonly block: QuantizationBlock | null) {}

  add(module: string, width: Width | null): void {
    const conflict = widthConflict(this.block, module, width);
    if (conflict === null) return;
    const others = this.modules.get(conflict);
    if (others) others.push(module);
    else this.modules.set(conflict, [module]);
  }

  sentences(): string[] {
    return [...this.modules].map(([conflict, [first, ...others]]) => {
      const more = others.length === 0 ? '' : ` and ${others.length} more`;
      return `${first}${more}: ${conflict}`;
    });
  }
}
