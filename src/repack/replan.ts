// Another width of a model that is packed as published: the plan that its checkpoint would give, from the plan that it was
// packed by, and where its layer files hold what the checkpoint held. Pure.

import { FlashmoeError } from '../base/errors.js';
import type { PackProjection, StackedTensor } from '../addon/types.js';
import { blockMode } from '../models/gguf/blocks.js';
import { PROJECTIONS } from '../models/names.js';
import type { Quant } from '../models/quant.js';
import type { QuantMode } from '../models/spec.js';
import type { RoutedLayer, RoutedProjection, StackedSource } from './classify.js';
import { planWidths, widthWarnings, type WidthChoice } from './plan.js';
import { tableSource } from './row-table.js';
import type { LayerPlan, PackPlan } from './types.js';

/** Word for word what `buildPlan` makes of the checkpoint. Throws ERR_USAGE where the packed codes are not the checkpoint's. */
export function replan(packed: PackPlan, choice: WidthChoice): PackPlan {
  if (hasBlocks(packed)) {
    throw new FlashmoeError(
      'ERR_USAGE',
      'the experts are in the blocks of a GGUF file, which stay as they are',
      {
        hint: 'choose another file of the repository with --file, or set the width up from an MLX conversion',
        subject: '--quant',
      },
    );
  }
  const original = packed.layers.find(({ conversions }) => conversions !== undefined);
  if (original !== undefined) throw madeOfOriginal(packed.repo, choice.quant);
  const isTable = ({ table }: LayerPlan): boolean => table !== undefined;
  const routed = packed.layers
    .filter((layer) => !isTable(layer))
    .map((layer) => routedLayer(packed, layer));
  const tables = packed.layers.filter(isTable).map(tableSource);
  const { quant, repo, commit, spec, shards, dense, skipped } = packed;
  const own = widthWarnings(routed, quant).length;
  const warnings = packed.warnings.slice(0, packed.warnings.length - own);
  return planWidths(
    { repo, commit, spec, shards, dense, skipped, warnings },
    { routed, tables },
    choice,
  );
}

/** The same projections, read out of the layer file at `path` of the pack that `packed` made. */
export function projectionsIn(
  packed: Pick<PackPlan, 'layers' | 'layouts'>,
  layer: number,
  path: string,
): PackProjection[] {
  const of = packed.layers.find((each) => each.layer === layer);
  const stride = packed.layouts[of?.layout ?? NaN]?.expert_stride;
  if (of === undefined || stride === undefined) {
    throw new FlashmoeError('ERR_PLAN', `layer ${layer} is not in the plan of the packed model`);
  }
  return of.projections.map((projection) => {
    const { weight, scales, biases, bias, targetOffsets } = projection;
    const at = (tensor: StackedTensor, offset: number): StackedTensor => ({
      ...tensor,
      ...{ source: path, offset, stride },
    });
    return {
      ...projection,
      weight: at(weight, targetOffsets.weight),
      scales: scales && at(scales, targetOffsets.scales),
      biases: biases && at(biases, targetOffsets.biases),
      ...(bias && { bias: at(bias, targetOffsets.bias ?? 0) }),
    };
  });
}

function routedLayer(
  { layouts }: Pick<PackPlan, 'layouts'>,
  { layer, experts, projections, layout }: LayerPlan,
): RoutedLayer {
  const components = layouts[layout]?.components ?? [];
  return {
    layer,
    experts,
    projections: projections.map((projection): RoutedProjection => {
      const { rows, columns, sourceBits: bits, targetBits, groupSize, targetOffsets } = projection;
      const part = components.find(
        ({ name, offset }) => offset === targetOffsets.weight && name.endsWith('.weight'),
      );
      const name = PROJECTIONS.find((each) => part?.name === `${each}.weight`);
      if (name === undefined || part === undefined) {
        throw new FlashmoeError('ERR_PLAN', `layer ${layer}: its plan and layout do not agree`);
      }
      if (bits !== targetBits) throw notAsPublished(layer);
      const width =
        bits === 0 ? null : { bits, groupSize, mode: (part.mode ?? 'affine') as QuantMode };
      const { weight, scales, biases, bias } = projection;
      return {
        ...{ name, rows, columns, width },
        weight: sourceOf(weight),
        scales: scales && sourceOf(scales),
        biases: biases && sourceOf(biases),
        bias: bias === undefined ? null : sourceOf(bias),
      };
    }),
  };
}

function sourceOf({ source, offset, size, dtype }: StackedTensor): StackedSource {
  return { shard: source, offset, size, dtype };
}

function hasBlocks({ layouts }: Pick<PackPlan, 'layouts'>): boolean {
  const modes = layouts.flatMap(({ components }) => components.map(({ mode = '' }) => mode));
  return modes.some((mode) => blockMode(mode) !== null);
}

/** A width is made of the original's own values: made of codes that were rounded here already it would be another, and worse. */
function madeOfOriginal(repo: string, quant: Quant): FlashmoeError {
  return new FlashmoeError(
    'ERR_USAGE',
    `it was made of an original checkpoint, and so is each of its widths: from ${repo}, not from the codes that are here`,
    { hint: `\`flashmoe setup --repo ${repo} --quant ${quant}\`, or --from with its folder` },
  );
}

function notAsPublished(layer: number): FlashmoeError {
  return new FlashmoeError(
    'ERR_USAGE',
    `layer ${layer} does not hold the codes of the checkpoint, so no other width can be made of it`,
    { hint: 'requantise the model that is here as published, or set the width up from the hub' },
  );
}
