// A write plan carried out from shards on this disk: for originals, whose bytes change on their way.

import { join } from 'node:path';
import { PARTIAL_SUFFIX, makeDirectory } from '../base/atomic-file.js';
import { removeOwned, type OwnedFolder } from '../base/owned-files.js';
import { type PackTarget, publish } from './pack.js';
import { fileRange } from './shard-source.js';
import type { PackPlan } from './types.js';
import { buildWritePlan, type WritePlanFile } from './write-plan.js';
import { rangesFrom, windowFor } from './write-plan-ranges.js';

/** Writes the layer files and what finishDense goes on with; scratch is made in `target.root` and goes. */
export async function writeDirectory(plan: PackPlan, target: PackTarget): Promise<void> {
  const { addon, root, expertsDir, threads, signal } = target;
  await makeDirectory(expertsDir);
  const writes = buildWritePlan(plan, { layers: new Set(), dense: false });
  const layerPath = (layer: number): string =>
    join(expertsDir, plan.layers.find((each) => each.layer === layer)?.file ?? '');
  const pathOf = (file: WritePlanFile): string =>
    file.kind === 'scratch'
      ? join(root, file.name)
      : (file.kind === 'dense' ? join(root, plan.dense.file) : layerPath(file.layer)) +
        PARTIAL_SUFFIX;
  const window = windowFor(plan.finalBytes);
  const [spool, mark] = [join(root, 'spool'), join(root, 'spool.mark')];
  const scratch = writes.files.filter(({ kind }) => kind === 'scratch').map(pathOf);
  const temporary = [spool, mark, ...scratch];
  const writer = addon.openTape({
    ...{ items: writes.items, window, binding: writes.fingerprint, from: null, sums: null },
    ...{ threads, method: 'search' as const, spool, mark, importance: null },
    files: writes.files.map((file) => ({ path: pathOf(file), size: file.size })),
  });
  try {
    for (const { shard, start, end, at } of rangesFrom(writes.runs, 0, [], window / 4)) {
      signal?.throwIfAborted();
      await writer.put(at, [await fileRange(target.shardPath(shard))(start, end - start)]);
    }
    await writer.checkpoint(true, 0);
  } finally {
    await writer.close();
    const owner: OwnedFolder = { root, owns: (path) => temporary.includes(join(root, path)) };
    for (const path of temporary) await removeOwned(owner, path);
  }
  for (const { layer } of plan.layers)
    await publish(layerPath(layer) + PARTIAL_SUFFIX, layerPath(layer));
}
