// A plan as the contract shown before the user says yes. Pure.

import { journalLines } from '../store/expected-journal.js';
import { expertTypes } from '../repack/expert-types.js';
import { RECORD_LIMIT } from '../jobs/record/lines.js';
import type { PlanSummary } from '../jobs/events.js';
import {
  blocksBytes,
  checkpointBytes,
  hubSideFiles,
  smallFiles,
  sourceBytes,
} from '../store/model-files.js';
import { remainingWork, type RemainingWork } from '../store/remaining-work.js';
import { rangedPeak, transferModeOf, rangedWork, type RangedWork } from '../store/transfer-mode.js';
import { doneBytes, type JournalState } from '../store/state.js';
import { storedPlanText, type StoredPlan } from '../store/stored-plan.js';

/** Everything that is known before the first byte of weights is fetched. */
export interface ProvisioningPlan {
  stored: StoredPlan;
  state: JournalState;
  /** Steps when whole shards are fetched. */
  work: RemainingWork;
  /** The way by ranges; null when whole shards are fetched. */
  ranged: RangedWork | null;
  summary: PlanSummary;
  /** Most bytes in the model's folder at any moment from here on: the promise that disk checks use. */
  peakBytes: number;
  /** Of that, plan, journal and manifest. */
  recordBytes: number;
}

export interface Circumstances {
  directory: string;
  freeBytes: number;
  /** Measured lately, from the same hub; null when nothing was. */
  bytesPerSecond: number | null;
  /** The server sends whole files only. */
  whole?: boolean;
  /** The checkpoint stays beside the model, and so many bytes of it are there. */
  keptBytes?: number;
}

/** manifest.json with its receipt, the tag of the scratch folder, and what a resumed run writes twice. */
const RECORDS_SLACK = 64 * 1024;

/** How much slower, and faster, a whole run may be than a short measurement. */
const SLOWER = 1.6;
const FASTER = 0.9;

export function makePlan(
  stored: StoredPlan,
  state: JournalState,
  circumstances: Circumstances,
): ProvisioningPlan {
  const { pack } = stored;
  const sideFiles = hubSideFiles(stored);
  const work = remainingWork(pack, state);
  const byRanges = transferModeOf(state) === 'ranges' && circumstances.whole !== true;
  const ranged = byRanges ? rangedWork(pack, state) : null;
  // Those of a GGUF model are made here.
  const fetched = stored.gguf === undefined ? sideFiles : [];
  const sideBytes = fetched.reduce((sum, { size }) => sum + size, 0);
  const shardBytes = pack.shards
    .filter(({ path }) => pack.order.includes(path))
    .reduce((sum, { size }) => sum + size, 0);
  const doneOfShards =
    ranged === null
      ? doneBytes(pack, state)
      : shardBytes - ranged.writes.length + (ranged.placed?.at ?? 0);
  const { keptBytes } = circumstances;
  const kept = keptBytes === undefined ? 0 : sourceBytes(stored);
  // Of a kept checkpoint every shard is fetched, and the small files for the model as well.
  const downloadBytes =
    sideBytes + (keptBytes === undefined ? shardBytes : checkpointBytes(stored));
  const done = Math.min(
    downloadBytes,
    (keptBytes ?? doneOfShards) +
      fetched.reduce((sum, { path, size }) => sum + (state.copied.has(path) ? size : 0), 0),
  );
  const smallBytes = smallFiles(stored).reduce((sum, { size }) => sum + size, 0);
  const finalBytes = pack.finalBytes + smallBytes + blocksBytes(pack) + kept;
  const records =
    Buffer.byteLength(storedPlanText(stored)) +
    Buffer.byteLength(journalLines(stored)) +
    // What earlier runs left of their record, and what this one may add.
    2 * RECORD_LIMIT +
    RECORDS_SLACK;
  const transferPeak = ranged === null ? work.peakBytes : rangedPeak(pack, ranged);
  const peakBytes = Math.max(transferPeak + smallBytes + kept, finalBytes) + records;
  return {
    stored,
    state,
    work,
    ranged,
    peakBytes,
    recordBytes: records,
    summary: {
      model: stored.model,
      repo: pack.repo,
      revision: stored.revision,
      commit: pack.commit,
      quant: pack.quant,
      fingerprint: pack.fingerprint,
      directory: circumstances.directory,
      shards: pack.order.length,
      layers: pack.layers.length,
      downloadBytes,
      doneBytes: done,
      finalBytes,
      ...(keptBytes === undefined ? {} : { sourceBytes: kept }),
      ...(stored.gguf !== undefined && { expertTypes: expertTypes(pack) }),
      ...(pack.calibration === undefined ? {} : { calibrationTokens: pack.calibration.tokens }),
      peakBytes,
      freeBytes: circumstances.freeBytes,
      seconds: duration(downloadBytes - done, circumstances.bytesPerSecond),
    },
  };
}

function duration(bytes: number, bytesPerSecond: number | null): PlanSummary['seconds'] {
  if (bytesPerSecond === null || bytesPerSecond <= 0) return null;
  const seconds = bytes / bytesPerSecond;
  return { low: seconds * FASTER, high: seconds * SLOWER };
}
