// Routed experts of an original checkpoint, in whichever of its three forms: one tensor an expert, gate and up as halves of
// one tensor, or MXFP4 blocks whose rows take turns.

import { type OriginalExpert, parseOriginalExpert } from '../models/original-layout.js';
import { PROJECTIONS, type Projection } from '../models/names.js';
import type { RoutedExperts } from '../models/parameters.js';
import {
  type EncodedMatrix,
  mxfp4Matrix,
  plainOrFp8,
  refused,
  requireFloat,
  requireShape,
  takeMatrix,
} from './encoded-tensor.js';
import type { SourcePiece, SourceTensor } from './types.js';

/** How two projections share a tensor: half after half, or row after row. */
export type Sharing = 'halves' | 'rows';

/** Values of one projection of all experts of a layer, or of gate and up where they are stored as one. */
export interface ExpertMatrices {
  projections: Projection[];
  sharing: Sharing | null;
  /** Of one projection. */
  rows: number;
  columns: number;
  encoding: EncodedMatrix['encoding'];
  groupSize: number;
  pieces: SourcePiece[];
  scales: SourcePiece[] | null;
  scaleType: string | null;
}

/** What is added to projections' results. */
export interface ExpertBias {
  projections: Projection[];
  rows: number;
  tensor: SourceTensor;
}

export interface OriginalLayer {
  layer: number;
  experts: number;
  matrices: ExpertMatrices[];
  biases: ExpertBias[];
}

/** Experts' tensors by layer, taken out of what is left as layers ask for them. */
export class ExpertTensors {
  readonly #one = new Map<string, SourceTensor>();
  readonly #modules = new Map<string, string>();
  readonly #all = new Map<string, SourceTensor>();

  /** False for a tensor of something else. */
  add(name: string, tensor: SourceTensor): boolean {
    const expert = parseOriginalExpert(name);
    if (expert === null) return false;
    if (expert.kind === 'all') this.#put(this.#all, `${expert.layer} ${expert.part}`, tensor);
    else {
      this.#put(this.#one, `${expert.module}.${expert.part}`, tensor);
      this.#modules.set(slot(expert), expert.module);
    }
    return true;
  }

  /** Throws ERR_UNSUPPORTED_MODEL naming what is missing or of another shape. */
  take(routed: RoutedExperts): OriginalLayer {
    const { layer, experts, bias } = routed;
    const of = { layer, experts };
    const blocks = this.#takeAll(layer, 'gate_up_proj_blocks');
    if (blocks !== null)
      return { ...of, ...this.#blocks(routed, blocks), biases: this.#biases(routed) };
    const fused = this.#takeAll(layer, 'gate_up_proj');
    if (fused !== null) {
      const down = this.#need(layer, 'down_proj');
      const matrices = [stackedHalves(routed, fused), stackedDown(routed, down)];
      return { ...of, matrices, biases: bias ? this.#biases(routed) : [] };
    }
    const matrices = PROJECTIONS.map((projection) => this.#each(routed, projection));
    return { ...of, matrices, biases: [] };
  }

  left(): string[] {
    return [...this.#one.values(), ...this.#all.values()].map(({ name }) => name);
  }

  #put(to: Map<string, SourceTensor>, key: string, tensor: SourceTensor): void {
    const other = to.get(key);
    if (other !== undefined) {
      const both = `${JSON.stringify(other.name)} and ${JSON.stringify(tensor.name)}`;
      throw refused(`${both} are the same parameter`, tensor.name);
    }
    to.set(key, tensor);
  }

  #takeAll(layer: number, part: string): SourceTensor | null {
    const tensor = this.#all.get(`${layer} ${part}`) ?? null;
    this.#all.delete(`${layer} ${part}`);
    return tensor;
  }

  #need(layer: number, part: string): SourceTensor {
    const tensor = this.#takeAll(layer, part);
    if (tensor === null) throw refused(`layer ${layer} has no experts.${part}`, part);
    return tensor;
  }

  #blocks(routed: RoutedExperts, blocks: SourceTensor): { matrices: ExpertMatrices[] } {
    const { layer, experts, hiddenSize: hidden, intermediateSize: inner } = routed;
    const both = this.#need(layer, 'gate_up_proj_scales');
    const [down, downScales] = [
      this.#need(layer, 'down_proj_blocks'),
      this.#need(layer, 'down_proj_scales'),
    ];
    const gateUp = mxfp4Matrix([experts, 2 * inner, hidden], blocks, both);
    const single = mxfp4Matrix([experts, hidden, inner], down, downScales);
    return {
      matrices: [
        whole(gateUp, ['gate_proj', 'up_proj'], 'rows', inner, hidden),
        whole(single, ['down_proj'], null, hidden, inner),
      ],
    };
  }

  #biases({ layer, experts, hiddenSize, intermediateSize }: RoutedExperts): ExpertBias[] {
    const both = this.#need(layer, 'gate_up_proj_bias');
    const down = this.#need(layer, 'down_proj_bias');
    requireShape(both.name, both, [experts, 2 * intermediateSize]);
    requireShape(down.name, down, [experts, hiddenSize]);
    for (const tensor of [both, down]) requireFloat(tensor.name, tensor);
    return [
      { projections: ['gate_proj', 'up_proj'], rows: intermediateSize, tensor: both },
      { projections: ['down_proj'], rows: hiddenSize, tensor: down },
    ];
  }

  #each(routed: RoutedExperts, projection: Projection): ExpertMatrices {
    const { layer, experts, hiddenSize: hidden, intermediateSize: inner } = routed;
    const [rows, columns] = projection === 'down_proj' ? [hidden, inner] : [inner, hidden];
    const matrices = Array.from({ length: experts }, (_, expert) => {
      const module = this.#modules.get(slot({ layer, expert, projection }));
      const take = (name: string): SourceTensor | null => {
        const tensor = this.#one.get(name) ?? null;
        this.#one.delete(name);
        return tensor;
      };
      const found = module === undefined ? null : takeMatrix(module, [rows, columns], take);
      if (found !== null) return found;
      const missing = `model.layers.${layer}.mlp.experts.${expert}.${projection}.weight`;
      throw refused(`${missing} is missing`, missing);
    });
    const [first] = matrices;
    if (first === undefined) throw refused(`layer ${layer} has no experts`, 'experts');
    const odd = matrices.find(
      (each) =>
        each.encoding !== first.encoding ||
        each.groupSize !== first.groupSize ||
        each.scales?.dtype !== first.scales?.dtype,
    );
    if (odd !== undefined) {
      throw refused(
        `${odd.tensor.name} is stored in another way than ${first.tensor.name}`,
        odd.tensor.name,
      );
    }
    return {
      ...{ projections: [projection], sharing: null, rows, columns },
      ...{ encoding: first.encoding, groupSize: first.groupSize },
      pieces: inARow(matrices.map(({ tensor }) => tensor)),
      scales: first.scales === null ? null : inARow(matrices.flatMap(({ scales }) => scales ?? [])),
      scaleType: first.scales?.dtype ?? null,
    };
  }
}

function slot({
  layer,
  expert,
  projection,
}: Pick<Extract<OriginalExpert, { kind: 'one' }>, 'layer' | 'expert' | 'projection'>): string {
  return `${layer} ${expert} ${projection}`;
}

/** One expert's tensor after the other's. */
function inARow(tensors: readonly SourceTensor[]): SourcePiece[] {
  let at = 0;
  return tensors.map(({ shard, offset, size }) => {
    const piece = { shard, offset, size, at };
    at += size;
    return piece;
  });
}

function stackedHalves(routed: RoutedExperts, tensor: SourceTensor): ExpertMatrices {
  const { experts, hiddenSize: hidden, intermediateSize: inner } = routed;
  const matrix = plainOrFp8(tensor.name, [experts, 2 * inner, hidden], tensor, () => null);
  return whole(matrix, ['gate_proj', 'up_proj'], 'halves', inner, hidden);
}

function stackedDown(routed: RoutedExperts, tensor: SourceTensor): ExpertMatrices {
  const { experts, hiddenSize: hidden, intermediateSize: inner } = routed;
  const matrix = plainOrFp8(tensor.name, [experts, hidden, inner], tensor, () => null);
  return whole(matrix, ['down_proj'], null, hidden, inner);
}

function whole(
  { encoding, groupSize, tensor, scales }: EncodedMatrix,
  projections: Projection[],
  sharing: Sharing | null,
  rows: number,
  columns: number,
): ExpertMatrices {
  return {
    ...{ projections, sharing, rows, columns, encoding, groupSize },
    pieces: inARow([tensor]),
    scales: scales === null ? null : inARow([scales]),
    scaleType: scales?.dtype ?? null,
  };
}
