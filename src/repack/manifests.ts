// model_weights.json and layout.json: what the engine reads first. Pure; docs/format.md describes the keys.

import type { DenseManifest, DenseTensor, ExpertsManifest } from '../models/spec.js';
import { expertPlaces } from './expert-places.js';
import { tableManifest } from './row-table.js';
import type { PackPlan } from './types.js';

/** A plan before its sizes and fingerprint are known. */
export type PlanBody = Pick<
  PackPlan,
  'quant' | 'repo' | 'commit' | 'spec' | 'shards' | 'dense' | 'layouts' | 'layers'
>;

/** `sha256` is of model_weights.bin, in hex. */
export function denseManifest(plan: PlanBody, sha256: string): DenseManifest {
  const tensors: Record<string, DenseTensor> = {};
  for (const { name, targetOffset, size, shape, dtype, bits, group_size, mode } of plan.dense
    .entries) {
    tensors[name] = {
      offset: targetOffset,
      size,
      shape,
      dtype,
      ...(bits !== undefined && group_size !== undefined && { bits, group_size }),
      ...(mode !== undefined && { mode }),
    };
  }
  return {
    format: 'flashmoe-dense',
    version: 1,
    source: { repo: plan.repo, revision: plan.commit, shards: plan.shards },
    config: plan.spec,
    num_tensors: plan.dense.entries.length,
    file_size: plan.dense.size,
    sha256,
    tensors,
  };
}

/** `hashes`: layer → sha256 of its file in hex; every layer of the plan must be there. */
export function expertsManifest(
  plan: PlanBody,
  hashes: ReadonlyMap<number, string>,
): ExpertsManifest {
  const hashOf = (layer: number): string => {
    const sha256 = hashes.get(layer);
    if (sha256 === undefined) throw new RangeError(`no hash for layer ${layer}`);
    return sha256;
  };
  const routed = plan.layers.filter(({ table }) => table === undefined);
  const tables = plan.layers.filter(({ table }) => table !== undefined);
  return {
    format: 'flashmoe-experts',
    version: plan.layers.some(({ kept }) => kept !== undefined) ? 2 : 1,
    quant: plan.quant,
    source: { repo: plan.repo, revision: plan.commit },
    num_experts: routed[0]?.experts ?? 0,
    // Those of tables come last and are told of with their table.
    layouts: plan.layouts.slice(
      0,
      Math.max(...routed.flatMap(({ layout, kept }) => [layout, kept?.layout ?? -1]), -1) + 1,
    ),
    layers: routed.map((of) => {
      const { layer, file, size, layout } = of;
      const places = of.kept && expertPlaces(plan, of);
      const experts = places?.map(({ offset, layout: at }) => ({ offset, layout: at }));
      return { layer, file, size, sha256: hashOf(layer), layout, ...(experts && { experts }) };
    }),
    ...(tables.length > 0 && {
      tables: tables.map((table) => tableManifest(table, hashOf(table.layer))),
    }),
  };
}

/** One form on every machine, so that equal plans give equal bytes. */
export function manifestText(manifest: DenseManifest | ExpertsManifest): string {
  return `${JSON.stringify(manifest, null, 1)}\n`;
}

/** Bytes of both manifests, exact because a hash always has 64 digits. */
export function manifestBytes(plan: PlanBody): number {
  const digits = '0'.repeat(64);
  const hashes = new Map(plan.layers.map(({ layer }) => [layer, digits]));
  return (
    Buffer.byteLength(manifestText(denseManifest(plan, digits))) +
    Buffer.byteLength(manifestText(expertsManifest(plan, hashes)))
  );
}
