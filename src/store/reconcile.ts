// The journal's claims held against what is on disk now. Pure: facts and sizes in, facts out.

import { buildWritePlan, type WritePlanFile } from '../repack/write-plan.js';
import type { PackPlan } from '../repack/types.js';
import { startOf } from './transfer-mode.js';
import { denseEnd, type DiskSizes, type FileFact, type JournalState } from './state.js';

/** Drops every claim whose file is missing or has another size: it will simply be done again. */
export function reconcile(claimed: JournalState, disk: DiskSizes, plan: PackPlan): JournalState {
  const isThere = ({ file, bytes }: FileFact): boolean => disk.files.get(file) === bytes;
  const denseFile =
    claimed.denseFile !== null && isThere(claimed.denseFile) ? claimed.denseFile : null;
  // The partial file grows with the last byte written; its final name is given before the line that says so.
  const denseKept =
    disk.files.get(plan.dense.file) === plan.dense.size ||
    (disk.densePartial ?? -1) >= denseEnd(plan, claimed.dense);
  const believed = {
    verified: new Map(
      [...claimed.verified].filter(([shard, { bytes }]) => disk.shards.get(shard) === bytes),
    ),
    sealed: claimed.sealed,
    dense: denseKept ? claimed.dense : new Set<string>(),
    layers: new Map([...claimed.layers].filter(([, layer]) => isThere(layer))),
    errors: claimed.errors,
    denseFile,
    copied: new Map([...claimed.copied].filter(([, file]) => isThere(file))),
    transfer: claimed.transfer,
    finished: claimed.finished,
  };
  return isStillOnDisk(plan, believed, disk) ? believed : { ...believed, transfer: null };
}

/** Whether everything that the journal says is placed can still be there: false makes a new write plan. */
export function isStillOnDisk(plan: PackPlan, state: JournalState, disk: DiskSizes): boolean {
  const { transfer } = state;
  if (transfer?.mode !== 'ranges') return true;
  const writes = buildWritePlan(plan, transfer.begun);
  if (writes.fingerprint !== transfer.writePlan) return false;
  const { placed } = transfer;
  if (placed === null) return [...transfer.begun.layers].every((layer) => state.layers.has(layer));
  if (placed.item > writes.items.length) return false;
  const gone = new Set(
    writes.releases.filter(({ item }) => item <= placed.item).map(({ file }) => file),
  );
  // The item at hand may not have begun, and then nothing of it need be there.
  const began = placed.at > startOf(writes, placed.item);
  const touched = new Set(
    writes.items
      .slice(0, began ? placed.item + 1 : placed.item)
      .flatMap((item) =>
        item.type === 'bytes' && item.place.kind !== 'drop' ? [item.place.file] : [],
      ),
  );
  const isThere = (file: WritePlanFile, index: number): boolean => {
    switch (file.kind) {
      case 'dense':
        return (
          state.denseFile !== null ||
          disk.densePartial === file.size ||
          disk.files.get(plan.dense.file) === file.size
        );
      case 'layer':
        return (
          state.layers.has(file.layer) ||
          disk.partials.get(file.layer) === file.size ||
          // Named, and killed before the line that says so.
          disk.named.get(file.layer) === file.size
        );
      case 'scratch':
        return gone.has(index) || disk.shards.get(file.name) === file.size;
    }
  };
  return (
    [...transfer.begun.layers].every((layer) => state.layers.has(layer)) &&
    writes.files.every((file, i) => !touched.has(i) || isThere(file, i))
  );
}
