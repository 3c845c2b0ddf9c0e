// A checkpoint's headers and config.json in, everything that will be written out. Pure: a plan can be
// printed, hashed and compared before the first byte of weights is fetched.

import { createHash } from 'node:crypto';
import { FlashmoeError } from '../base/errors.js';
import { layerFileName } from '../base/paths.js';
import { Config } from '../models/config.js';
import { manifestName, type Projection, PROJECTIONS } from '../models/names.js';
import { readQuantization, refuseWithoutScales } from '../models/quantization.js';
import { isOriginalLayout } from '../models/raw-layout.js';
import { NARROW_BITS, type Quant } from '../models/quant.js';
import { type OriginalFacts, originalName } from '../models/original-layout.js';
import { originalFacts, readModelSpec } from '../models/registry.js';
import type { ExpertLayout } from '../models/spec.js';
import { type CalibrationRows, fitting, importanceOf } from './calibration.js';
import { classify, type Packable, type RoutedLayer } from './classify.js';
import { ENCODED_BITS } from './encoded-tensor.js';
import { denseLayout, expertLayout, isNarrowed, type Narrowing, packProjection } from './layout.js';
import { manifestBytes, type PlanBody } from './manifests.js';
import { classifyOriginal, originalDense, originalLayer, requireReadable } from './original.js';
import { planTable } from './row-table.js';
import { chooseOrder, peakOf } from './schedule.js';
import type { Inventory, LayerPlan, PackPlan } from './types.js';
import { chooseExperts, type KeptExperts } from './tiers.js';
import { type Choosable, chooseWidths, type KeptWidths } from './widths.js';

export interface WidthChoice {
  quant: Quant;
  /** Most bytes that everything written may have; for `mixed`. */
  size?: number | null;
  /** Of the same repository's model: errors of requantising are weighed by it. */
  calibration?: CalibrationRows | null;
}

export interface PlanInput extends WidthChoice {
  /** Parsed config.json. */
  config: unknown;
  inventory: Inventory;
  repo: string;
  /** 40 hex digits, or what identifies a local folder's content. */
  commit: string;
  /** Codes of an original's weights as MLX's Metal kernel would choose them. */
  likeMlx?: boolean;
  /** Of the inventory; shown with the plan's own. */
  warnings?: readonly string[];
}

/** Throws ERR_UNSUPPORTED_MODEL or ERR_PLAN, naming the field, module or tensor. */
export function buildPlan(input: PlanInput): PackPlan {
  const { config, inventory } = input;
  if (isOriginalLayout(inventory.tensors.values())) return finishPlan(originalPlan(input), input);
  const block = readQuantization(Config.of(config));
  const names = new Set([...inventory.tensors.keys()].map(manifestName));
  const spec = readModelSpec(config, names);
  refuseWithoutScales(block, names);
  const { dense, routed, tables, skipped, warnings } = classify(inventory, spec, block);
  const { repo, commit } = input;
  const given = { repo, commit, spec, skipped, warnings: [...(input.warnings ?? []), ...warnings] };
  const laid = { file: 'model_weights.bin', ...denseLayout(dense) };
  return planWidths({ ...given, shards: inventory.shards, dense: laid }, { routed, tables }, input);
}

/** What a plan holds whatever the width of its experts. */
export type WidthlessPlan = Pick<
  PackPlan,
  'repo' | 'commit' | 'spec' | 'shards' | 'dense' | 'skipped' | 'warnings'
>;

/** The plan of a checkpoint that is taken apart, at a width. Throws ERR_USAGE and ERR_PLAN as buildPlan does. */
export function planWidths(
  of: WidthlessPlan,
  { routed, tables }: Packable,
  choice: WidthChoice,
): PackPlan {
  const { quant, calibration = null } = choice;
  requireWider(
    routed.flatMap(({ projections }) => projections.map(({ width }) => width?.bits ?? Infinity)),
    quant,
  );
  const fixed = {
    schema: 1 as const,
    quant,
    repo: of.repo,
    commit: of.commit,
    spec: of.spec,
    shards: of.shards,
    dense: of.dense,
    ...(calibration === null
      ? {}
      : { calibration: fitting(calibration, { quant, repo: of.repo }) }),
    skipped: of.skipped,
    warnings: [...of.warnings, ...widthWarnings(routed, quant)],
  };
  const plan = (kept: KeptWidths) => ({
    ...fixed,
    ...planLayers({ routed, tables }, { kept, bits: NARROW_BITS[quant] }, calibration),
  });
  if (quant !== 'tiered') return finishPlan({ routed, plan }, choice);
  const tiered = (kept: KeptExperts) => ({
    ...fixed,
    ...tieredLayers({ routed, tables }, kept, calibration),
  });
  const { size = null } = choice;
  const bytes = (kept: KeptExperts): number => bytesOf(tiered(kept));
  return wholePlan(tiered(chooseExperts(routed, calibration, { size, bytesOf: bytes })));
}

/** Widths are chosen, then everything that follows from them. */
function finishPlan({ plan, routed }: Draft, { quant, size = null }: WidthChoice): PackPlan {
  if (routed.length === 0) throw new FlashmoeError('ERR_PLAN', 'the model has no routed experts');
  const kept = chooseWidths(routed, quant, { size, bytesOf: (choice) => bytesOf(plan(choice)) });
  return wholePlan(plan(kept));
}

export type PlanWithoutSums = Omit<PackPlan, 'order' | 'finalBytes' | 'peakBytes' | 'fingerprint'>;

/** With the order of shards and everything that is added up. */
export function wholePlan(body: PlanWithoutSums): PackPlan {
  const order = chooseOrder(body);
  const finalBytes = bytesOf(body);
  const whole = {
    ...body,
    order,
    finalBytes,
    peakBytes: Math.max(peakOf({ ...body, order }), finalBytes),
  };
  return { ...whole, fingerprint: fingerprint(whole) };
}

/** What a choice of widths comes to, and what there is to choose among. */
interface Draft {
  plan: (kept: KeptWidths) => PlanWithoutSums;
  routed: Choosable;
}

/** A checkpoint as its authors publish it: quantised here. */
function originalPlan(input: PlanInput): Draft {
  const { config, inventory, repo, commit, quant, likeMlx = false } = input;
  if (quant === 'tiered') {
    throw new FlashmoeError(
      'ERR_USAGE',
      'tiered is made of experts that are published with 4 bits',
      {
        hint: 'name another width with --quant',
        subject: '--quant',
      },
    );
  }
  requireReadable(config);
  if (input.calibration) fitting(input.calibration, input);
  const names = new Set([...inventory.tensors.keys()].map(originalName));
  const spec = readModelSpec(config, names);
  const found = classifyOriginal(inventory, spec, factsFor(config, likeMlx), likeMlx);
  requireWider(
    found.layers.flatMap(({ matrices }) => matrices.map((each) => ENCODED_BITS[each.encoding])),
    quant,
  );
  const fixed = {
    ...{ schema: 1 as const, quant, repo, commit, spec, shards: inventory.shards },
    dense: originalDense(found.dense, likeMlx),
    skipped: found.skipped,
    warnings: [...(input.warnings ?? []), ...backendWarnings(quant)],
  };
  const routed = found.layers.map(({ layer }) => ({
    layer,
    projections: PROJECTIONS.map((name) => ({ name })),
  }));
  const plan = (kept: KeptWidths) => {
    const layouts: ExpertLayout[] = [];
    const layers = found.layers.map((layer) => {
      const wide = kept.get(layer.layer);
      return originalLayer(
        layer,
        (name) => (wide?.has(name) ? 4 : NARROW_BITS[quant]),
        likeMlx,
        layouts,
      );
    });
    return { ...fixed, layouts, layers };
  };
  return { routed, plan };
}

/** MLX's converter has 4 bits for everything that it knows no other width of. */
function factsFor(config: unknown, likeMlx: boolean): OriginalFacts {
  const { denseBits, ...facts } = originalFacts(config);
  return likeMlx || denseBits === undefined ? facts : { ...facts, denseBits };
}

/** Everything that is written. */
function bytesOf(body: PlanBody): number {
  return body.layers.reduce((sum, { size }) => sum + size, body.dense.size) + manifestBytes(body);
}

function planLayers(
  { routed, tables }: Packable,
  { kept, bits }: { kept: KeptWidths; bits: number },
  calibration: CalibrationRows | null,
): Pick<PackPlan, 'layouts' | 'layers'> {
  const layouts: ExpertLayout[] = [];
  const none = new Set<Projection>();
  const layers = routed.map((layer) =>
    planLayer(layer, { kept: kept.get(layer.layer) ?? none, bits }, layouts, calibration),
  );
  return { layouts, layers: [...layers, ...tables.map((table) => planTable(table, layouts))] };
}

/** Two bits for all but the experts that are kept, which stay as published with all their projections. */
function tieredLayers(
  { routed, tables }: Packable,
  kept: KeptExperts,
  calibration: CalibrationRows | null,
): Pick<PackPlan, 'layouts' | 'layers'> {
  const layouts: ExpertLayout[] = [];
  const layers = routed.map((layer): LayerPlan => {
    const bits = NARROW_BITS.tiered;
    const narrow = planLayer(layer, { kept: new Set(), bits }, layouts, calibration);
    const experts = kept.get(layer.layer) ?? [];
    if (experts.length === 0) return narrow;
    const all = new Set(layer.projections.map(({ name }) => name));
    const { layout, projections } = planLayer(layer, { kept: all, bits }, layouts, calibration);
    const strideOf = (at: number): number => layouts[at]?.expert_stride ?? 0;
    const size =
      (layer.experts - experts.length) * strideOf(narrow.layout) +
      experts.length * strideOf(layout);
    return { ...narrow, size, kept: { layout, experts: [...experts], projections } };
  });
  return { layouts, layers: [...layers, ...tables.map((table) => planTable(table, layouts))] };
}

function planLayer(
  { layer, experts, projections }: RoutedLayer,
  narrowing: Narrowing,
  layouts: ExpertLayout[],
  calibration: CalibrationRows | null,
): LayerPlan {
  const layout = expertLayout(projections, narrowing);
  const text = JSON.stringify(layout);
  let index = layouts.findIndex((known) => JSON.stringify(known) === text);
  if (index === -1) index = layouts.push(layout) - 1;
  const sources = projections.flatMap(({ weight, scales, biases, bias }) => [
    ...[weight, scales],
    ...[biases, bias],
  ]);
  const size = experts * layout.expert_stride;
  if (!Number.isSafeInteger(size)) {
    throw new FlashmoeError('ERR_PLAN', `layer ${layer} would be ${size} bytes`);
  }
  return {
    layer,
    file: layerFileName(layer),
    size,
    layout: index,
    shards: [...new Set(sources.flatMap((tensor) => tensor?.shard ?? []))].sort(),
    experts,
    projections: projections.map((projection) => {
      const packed = packProjection(projection, layout, narrowing);
      if (calibration === null || packed.sourceBits === packed.targetBits) return packed;
      const { name, columns } = projection;
      const importance = importanceOf(calibration, { layer, projection: name, experts, columns });
      return { ...packed, importance };
    }),
  };
}

/** Refuses to call experts wider than they are published: no width brings back what they have lost. */
function requireWider(published: readonly number[], quant: Quant): void {
  if (quant !== '3bit' && quant !== '5bit') return;
  const most = Math.max(...published);
  if (most >= NARROW_BITS[quant]) return;
  throw new FlashmoeError(
    'ERR_USAGE',
    `the experts are published with ${most} bits, so ${NARROW_BITS[quant]} would not make them better`,
    { hint: 'leave --quant away, or name a narrower width', subject: '--quant' },
  );
}

/** About experts whose width in the file is not what `quant` says. */
export function widthWarnings(routed: readonly RoutedLayer[], quant: Quant): string[] {
  // Of mixed and tiered some projections stay with 4.
  const wanted = quant === 'mixed' || quant === 'tiered' ? 4 : NARROW_BITS[quant];
  const odd = new Map<number, number>();
  for (const { projections } of routed) {
    for (const { width } of projections) {
      const bits = width?.bits ?? 0;
      const stays = quant === '4bit' || !isNarrowed(width, NARROW_BITS[quant]);
      if (stays && bits !== wanted) odd.set(bits, (odd.get(bits) ?? 0) + 1);
    }
  }
  const stay = [...odd].map(([bits, count]) => {
    const width = bits === 0 ? 'not quantised' : `stored with ${bits} bits`;
    return `${count} expert projections are ${width} in the source and stay so`;
  });
  return [...stay, ...backendWarnings(quant)];
}

/** Before a night is spent: who wants the GPU's speed takes another width. */
function backendWarnings(quant: Quant): string[] {
  const bits = NARROW_BITS[quant];
  if (bits !== 3 && bits !== 5) return [];
  return [
    `experts of ${bits} bits are computed on the CPU, with --backend cpu: the GPU has no kernels for them`,
  ];
}

/** sha256 in hex over the plan with sorted keys: equal iff the same bytes would be written from the same sources. */
export function fingerprint(plan: Omit<PackPlan, 'fingerprint'>): string {
  return createHash('sha256').update(canonicalJson(plan)).digest('hex');
}

export function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_, item: unknown) => {
    if (typeof item === 'number' && !Number.isInteger(item)) {
      // Powers and logarithms may differ in the last bit between JavaScript engines; a journal must survive that.
      return Number(item.toPrecision(12));
    }
    if (typeof item !== 'object' || item === null || Array.isArray(item)) return item;
    return Object.fromEntries(Object.entries(item).sort(([a], [b]) => (a < b ? -1 : 1)));
  });
}
