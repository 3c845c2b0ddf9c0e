// Tensors of a GGUF model by what the spec asks for, each taken once. Pure; shapes and types are checked here, and what is
// missing, left over or of a type that nothing here computes is refused by name.

import { FlashmoeError } from '../base/errors.js';
import { type GgufArchitecture, ggufName } from '../models/gguf/architecture.js';
import { BLOCK_MODES, blockMode } from '../models/gguf/blocks.js';
import type { Projection } from '../models/names.js';
import type { Linear, RoutedExperts } from '../models/parameters.js';
import type { BlockMode, DType, ModelSpec, QuantMode } from '../models/spec.js';
import { refuseLeftovers } from './classify.js';
import { wrongTensor } from './encoded-tensor.js';
import type { GgufModelFiles } from './gguf-files.js';
import { DTYPE_BYTES } from './safetensors.js';
import type { SourceTensor } from './types.js';

const FLOATS = ['F32', 'F16', 'BF16'];
const READ = 'Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 and Q2_K to Q6_K';

/** How a tensor of the result is stored. */
export interface Form {
  shape: number[];
  dtype: DType;
  mode?: BlockMode | QuantMode;
}

/** A tensor of the dense file: bytes as they are, or made of others. */
export type Part =
  | { kind: 'copy'; output: Output; shard: string; offset: number }
  | { kind: 'made'; outputs: Output[]; tensor: SourceTensor; how: Made };

export interface Output {
  name: string;
  form: Form;
  size: number;
}

/** Rows that take turns in `unit`s of bytes, or the logarithms of negative numbers. */
type Made = { unit: number } | 'log';

export interface ExpertTensor {
  projections: Projection[];
  rows: number;
  columns: number;
  tensor: SourceTensor;
  bias: SourceTensor | null;
}

export interface ExpertTensors extends RoutedExperts {
  tensors: ExpertTensor[];
}

export class GgufTensors {
  readonly #rest: Map<string, SourceTensor>;
  readonly #missing: string[] = [];
  /** Type → the first tensor of it. */
  readonly #unread = new Map<string, SourceTensor>();

  constructor(
    { inventory }: GgufModelFiles,
    private readonly architecture: GgufArchitecture,
    private readonly spec: ModelSpec,
  ) {
    this.#rest = new Map(inventory.tensors);
  }

  linear({ module, lead, rows, columns }: Linear, isPlain: boolean): Part[] {
    const name = `${module}.weight`;
    const shape = [...lead, rows, columns];
    const tensor = this.#take(name);
    if (tensor !== null) {
      if (isPlain) requireFloats(name, tensor);
      requireShape(name, tensor, shape);
      return this.#matrix(name, tensor, shape, 0);
    }
    const fused = this.#fused(module);
    if (fused !== null) return this.#slice(name, shape, fused);
    return this.#halves(module, shape);
  }

  plain(name: string, shape: number[], isRate: boolean): Part[] {
    const tensor = this.#take(name);
    if (tensor === null) {
      this.#missing.push(this.#own(name));
      return [];
    }
    requireFloats(name, tensor);
    requireShape(name, tensor, shape);
    if (!isRate) return this.#matrix(name, tensor, shape, 0);
    if (tensor.dtype !== 'F32') throw wrongTensor(name, tensor, 'F32');
    const form: Form = { shape, dtype: 'F32' };
    return [{ kind: 'made', outputs: [{ name, form, size: tensor.size }], tensor, how: 'log' }];
  }

  experts(layer: RoutedExperts): ExpertTensors {
    const { experts, hiddenSize: h, intermediateSize: i } = layer;
    const both = this.#rest.has(`blk.${layer.layer}.ffn_gate_up_exps.weight`);
    const gated: [string, Projection[]][] = both
      ? [['ffn_gate_up_exps', ['gate_proj', 'up_proj']]]
      : [
          ['ffn_gate_exps', ['gate_proj']],
          ['ffn_up_exps', ['up_proj']],
        ];
    const all: [string, Projection[]][] = [...gated, ['ffn_down_exps', ['down_proj']]];
    const tensors = all.flatMap(([stem, projections]): ExpertTensor[] => {
      const [rows, columns] = projections.includes('down_proj') ? [h, i] : [i, h];
      const name = `blk.${layer.layer}.${stem}`;
      const tensor = this.#takeOwn(`${name}.weight`);
      const bias = layer.bias ? this.#takeOwn(`${name}.bias`) : null;
      if (tensor === null || (layer.bias && bias === null)) {
        this.#missing.push(`${name}.${tensor === null ? 'weight' : 'bias'}`);
        return [];
      }
      const height = rows * projections.length;
      requireShape(tensor.name, tensor, [experts, height, columns]);
      if (bias !== null) {
        requireShape(bias.name, bias, [experts, height]);
        if (bias.dtype !== 'F32') throw wrongTensor(bias.name, bias, 'F32');
      }
      this.#isRead(tensor);
      return [{ projections, rows, columns, tensor, bias }];
    });
    return { ...layer, tensors };
  }

  /** Names that were left out on purpose. Throws for what is missing, left over or of a type that isn't read. */
  finish(): string[] {
    if (this.#unread.size > 0) throw unreadTypes(this.#unread);
    const skipped = [...this.#rest.keys()].filter((name) => this.#isSpare(name)).sort();
    for (const name of skipped) this.#rest.delete(name);
    refuseLeftovers([...this.#rest.keys()], this.#missing, "the GGUF file's metadata");
    return skipped;
  }

  /** Blocks behind the decoder's are of multi-token prediction. */
  #isSpare(name: string): boolean {
    const [, block, below = ''] = /^blk\.(\d+)\.(.+)$/.exec(name) ?? [];
    if (block === undefined) return false;
    const isBehind = Number(block) >= this.spec.layers.length;
    return isBehind || this.architecture.spare?.includes(below) === true;
  }

  #own(name: string): string {
    return ggufName(name, this.architecture) ?? name;
  }

  #take(name: string): SourceTensor | null {
    return this.#takeOwn(this.#own(name));
  }

  #takeOwn(name: string): SourceTensor | null {
    const tensor = this.#rest.get(name) ?? null;
    this.#rest.delete(name);
    return tensor;
  }

  #isRead(tensor: SourceTensor): boolean {
    const isRead = FLOATS.includes(tensor.dtype) || blockMode(tensor.dtype) !== null;
    if (!isRead && !this.#unread.has(tensor.dtype)) this.#unread.set(tensor.dtype, tensor);
    return isRead;
  }

  /** A matrix, or so many of its rows from byte `from` on. */
  #matrix(name: string, tensor: SourceTensor, shape: number[], from: number): Part[] {
    if (!this.#isRead(tensor)) return [];
    const form = formOf(tensor.dtype, shape);
    const output = { name, form, size: bytesOf(form) };
    return [{ kind: 'copy', output, shard: tensor.shard, offset: tensor.offset + from }];
  }

  /** q, k and v in one tensor, in that order; each takes its rows. */
  #fused(module: string): { tensor: SourceTensor; from: number; rows: number } | null {
    for (const { mixer } of this.spec.layers) {
      if (mixer.kind !== 'gqa') continue;
      const { heads, kvHeads, headDim, outputGate, tensors } = mixer;
      const at = [tensors.q, tensors.k, tensors.v].indexOf(module);
      if (at === -1) continue;
      const rows = [heads * headDim * (outputGate ? 2 : 1), kvHeads * headDim, kvHeads * headDim];
      const fused = this.#own(`${tensors.q.replace(/q_proj$/, 'qkv_proj')}.weight`);
      const tensor = this.#rest.get(fused);
      if (tensor === undefined) return null;
      // v is the last that asks.
      if (at === 2) this.#rest.delete(fused);
      const before = rows.slice(0, at).reduce((sum, each) => sum + each, 0);
      return { tensor, from: before, rows: rows.reduce((sum, each) => sum + each, 0) };
    }
    return null;
  }

  #slice(
    name: string,
    shape: number[],
    { tensor, from, rows }: { tensor: SourceTensor; from: number; rows: number },
  ): Part[] {
    const columns = shape.at(-1) ?? 0;
    requireShape(tensor.name, tensor, [rows, columns]);
    return this.#matrix(name, tensor, shape, (tensor.size / rows) * from);
  }

  /** Two matrices whose rows take turns head by head: the first of the two that is asked for takes both. */
  #halves(module: string, shape: number[]): Part[] {
    for (const { mixer } of this.spec.layers) {
      if (mixer.kind !== 'gated_delta_net') continue;
      const { keyHeads, valueHeads, tensors } = mixer;
      const { a = '', b = '' } = tensors;
      if (module !== a && module !== b) continue;
      const together = `${a.replace(/in_proj_a$/, 'in_proj_ba')}.weight`;
      const tensor = this.#rest.get(this.#own(together));
      if (module === b && tensor === undefined) return [];
      if (tensor === undefined) break;
      this.#rest.delete(this.#own(together));
      requireShape(tensor.name, tensor, [2 * valueHeads, shape.at(-1) ?? 0]);
      if (!this.#isRead(tensor)) return [];
      const form = formOf(tensor.dtype, shape);
      const size = bytesOf(form);
      const outputs = [b, a].map((each) => ({ name: `${each}.weight`, form, size }));
      return [{ kind: 'made', outputs, tensor, how: { unit: size / keyHeads } }];
    }
    this.#missing.push(this.#own(`${module}.weight`));
    return [];
  }
}

function unreadTypes(types: ReadonlyMap<string, SourceTensor>): FlashmoeError {
  const [first] = types.values();
  const names = [...types.keys()].sort().join(', ');
  return new FlashmoeError(
    'ERR_UNSUPPORTED_MODEL',
    `${first?.shard ?? ''} holds tensors in ${names} (${first?.name ?? ''}), which flashmoe does not compute; nothing was fetched`,
    {
      subject: first?.dtype,
      hint: `choose another file with --file: ${READ} are read; or an MLX conversion, or the authors' repository, which --quant makes as small`,
    },
  );
}

export function formOf(type: string, shape: number[]): Form {
  const mode = blockMode(type);
  if (mode === null) return { shape, dtype: type as DType };
  const { values, bytes } = BLOCK_MODES[mode];
  const row = ((shape.at(-1) ?? 0) / values) * bytes;
  return { shape: [...shape.slice(0, -1), row], dtype: 'U8', mode };
}

export function bytesOf({ shape, dtype }: Form): number {
  return shape.reduce((product, d) => product * d, 1) * (DTYPE_BYTES[dtype] ?? 0);
}

function requireFloats(name: string, tensor: SourceTensor): void {
  if (!FLOATS.includes(tensor.dtype)) throw wrongTensor(name, tensor, FLOATS.join(', '));
}

/** Axes of length 1 are left out where a vector is meant, and in the middle of a convolution. */
function requireShape(name: string, tensor: SourceTensor, shape: readonly number[]): void {
  const long = (axes: readonly number[]): string => axes.filter((d) => d !== 1).join(',');
  if (long(tensor.shape) === long(shape)) return;
  throw wrongTensor(name, tensor, `[${shape.join(', ')}]`);
}
