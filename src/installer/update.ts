// A finished model brought to what its revision stands for today. The newer one is made beside it as any setup is made, but
// begins with the files that stay; the old one answers until the newer one has answered and takes its place.

import { constants } from 'node:fs';
import { copyFile, link, stat, truncate, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { runJob } from '../addon/load.js';
import type { NativeAddon } from '../addon/types.js';
import { makeDirectory, PARTIAL_SUFFIX, writeFileAtomic } from '../base/atomic-file.js';
import { acquireLock } from '../base/file-lock.js';
import type { ModelPaths } from '../base/paths.js';
import { volumeOf } from '../base/volume.js';
import { HubClient } from '../hub/client.js';
import { hubTask } from '../transfer/hub-events.js';
import type { PlanSummary } from '../jobs/events.js';
import { CALIBRATION_FILE, readCalibration } from '../repack/calibration.js';
import { denseManifest, manifestText } from '../repack/manifests.js';
import { buildWritePlan } from '../repack/write-plan.js';
import { neededFree } from '../store/disk-usage.js';
import { readJournal, type JournalEntry, type JournalHeader } from '../store/journal.js';
import { readManifest, writeManifest, type ModelManifest } from '../store/manifest.js';
import type { Receipt } from '../store/receipt.js';
import { reduceJournal } from '../store/state.js';
import { writeStoredPlan, type StoredPlan } from '../store/stored-plan.js';
import { finishTakingPlace, takePlace, updatePaths } from '../store/update-place.js';
import { makePlan } from '../transfer/plan.js';
import { planOfModel } from './plan-again.js';
import { openSetup, type RunTask, type SetupContext, type SetupRequest } from './setup.js';
import { currentState, planAt } from './steps/planning.js';
import {
  changesBetween,
  keptDense,
  keptFiles,
  type KeptFile,
  type UpdateChanges,
} from './update-changes.js';

export interface UpdateTask {
  addon: NativeAddon;
  paths: ModelPaths;
  manifest: ModelManifest;
  context: SetupContext;
  /** What a person types to go on after an interruption. */
  resumeCommand: string;
}

export interface PlannedUpdate {
  commits: { before: string; now: string };
  changes: UpdateChanges;
  summary: PlanSummary;
  stored: StoredPlan;
  kept: KeptFile[];
  /** The plan of the one that is here. */
  old: StoredPlan;
  /** Lines that the journal of the newer one begins with. */
  entries: JournalEntry[];
}

/** Asks the hub, writes nothing. null when the revision stands for the same commit as ever. */
export async function planUpdate(
  task: UpdateTask,
  { emit, signal }: Pick<RunTask, 'emit' | 'signal'>,
): Promise<PlannedUpdate | null> {
  const { paths, manifest, context } = task;
  const { model, repo, revision, quant, commit: before } = manifest;
  await finishTakingPlace(paths);
  const client = new HubClient(context.hub);
  try {
    const to = hubTask({ emit, signal });
    const commit = await client.resolveCommit(repo, revision, to);
    if (commit === before) return null;
    const old = await planOfModel(paths, manifest, client, to);
    const weighed = manifest.files.some(({ path }) => path === CALIBRATION_FILE);
    const calibration = weighed ? await readCalibration(join(paths.root, CALIBRATION_FILE)) : null;
    const { size = null, gguf } = old;
    const file = gguf?.file ?? null;
    const asking = { model, quant, size, file, calibration, client, emit, signal };
    const found = await planAt(asking, await client.listAt(repo, revision, commit, to));
    // Files of the user's own stay what they are.
    const stored = { ...found, ...(old.userFiles && { userFiles: old.userFiles }) };
    const changes = changesBetween(old, stored);
    const state = await currentState(paths, old, await readJournal(paths.journal));
    const kept = keptFiles(paths, stored, state, changes);
    const entries = withRoad(stored, [
      ...kept.map(({ entry }) => entry),
      ...(state.denseFile === null ? [] : changes.denseShards).map((shard): JournalEntry => ({
        step: 'dense',
        shard,
        bytes: 0,
      })),
    ]);
    const { freeBytes } = await (context.volume ?? volumeOf)(paths.root);
    const directory = paths.root;
    const circumstances = { directory, freeBytes, bytesPerSecond: null };
    const plan = makePlan(stored, reduceJournal(entries), circumstances);
    const keptBytes = kept.reduce((sum, { fact }) => sum + fact.bytes, 0);
    const neededBytes = neededFree(plan.peakBytes, keptBytes);
    const summary = { ...plan.summary, neededBytes };
    return { commits: { before, now: commit }, changes, summary, stored, kept, old, entries };
  } finally {
    client.close();
  }
}

/** What is left is fetched by ranges from the first line on: what is in a partial dense file stays in it. */
function withRoad({ pack }: StoredPlan, entries: JournalEntry[]): JournalEntry[] {
  const { layers, dense, denseFile } = reduceJournal(entries);
  const basis = {
    layers: new Set(layers.keys()),
    dense: denseFile !== null,
    denseShards: new Set(dense),
  };
  const tape = buildWritePlan(pack, basis).fingerprint;
  return [...entries, { step: 'road', road: 'ranges', tape }];
}

/** Makes the newer one, lets it answer, and gives it the model's place. Run again after an interruption, it goes on. */
export async function runUpdate(
  task: UpdateTask,
  planned: PlannedUpdate,
  run: RunTask,
): Promise<Receipt> {
  const { addon, paths, manifest, context, resumeCommand } = task;
  const { model, repo, revision, quant } = manifest;
  const { stored } = planned;
  const fresh = updatePaths(paths);
  await beginWithKept({ addon, paths, fresh, signal: run.signal }, planned, context.host.now());
  const own = new Map((manifest.userFiles ?? []).map(({ path, option }) => [option, path]));
  const ownFile = (option: string): string | null => {
    const path = own.get(option);
    return path === undefined ? null : join(paths.root, path);
  };
  const request: SetupRequest = {
    ...{ model, repo, revision, quant, bundled: null, questions: [], bytesPerSecond: null },
    ...{ size: stored.size ?? null, into: fresh.root, resumeCommand },
    calibration: ownFile('--calibration'),
    chatTemplate: ownFile('--chat-template'),
  };
  const setup = await openSetup(request, context, run);
  try {
    const receipt = await setup.run(run);
    const made = await readManifest(fresh.manifest);
    const placed = { ...receipt, directory: paths.root };
    if (made !== null) await writeManifest(fresh.manifest, { ...made, receipt: placed });
    await takePlace(paths);
    return placed;
  } finally {
    await setup.close();
  }
}

/** The files that stay under their second name, then the journal that vouches for them; nothing where it was begun before. */
async function beginWithKept(
  {
    addon,
    paths,
    fresh,
    signal,
  }: Pick<UpdateTask, 'addon' | 'paths'> & {
    fresh: ModelPaths;
    signal: AbortSignal;
  },
  { stored, kept, old, entries }: PlannedUpdate,
  now: number,
): Promise<void> {
  await makeDirectory(fresh.root);
  const lock = await acquireLock(fresh.lock);
  try {
    if ((await readJournal(fresh.journal)) !== null) return;
    const { pack, revision } = stored;
    for (const { fact, entry } of kept) {
      await giveSecondName(join(paths.root, fact.file), join(fresh.root, fact.file));
      if (entry.step !== 'dense-finished') continue;
      await writeFileAtomic(fresh.denseManifest, manifestText(denseManifest(pack, fact.sha256)));
    }
    const shards = entries.flatMap((entry) => (entry.step === 'dense' ? [entry.shard] : []));
    if (shards.length > 0) {
      const target = fresh.denseFile + PARTIAL_SUFFIX;
      const ranges = keptDense(old.pack, pack, new Set(shards)).map(({ from, to, size }) => ({
        ...{ source: paths.denseFile, sourceOffset: from, targetOffset: to, size },
      }));
      // Of the size that it will have, so that what is fetched has its place.
      await writeFile(target, '');
      await truncate(target, pack.dense.size);
      await runJob(
        addon.copyRanges({ target, ranges, sync: true }, () => undefined),
        signal,
      );
    }
    await writeStoredPlan(fresh.plan, stored);
    const { repo, commit, fingerprint: plan, quant } = pack;
    const startedAt = new Date(now).toISOString();
    const header: JournalHeader = { schema: 1, repo, revision, commit, plan, quant, startedAt };
    const lines = [header, ...entries];
    await writeFileAtomic(fresh.journal, lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
  } finally {
    await lock.release();
  }
}

/** The same bytes on the disk where the file system can do that, else a copy of them. */
async function giveSecondName(from: string, to: string): Promise<void> {
  await makeDirectory(dirname(to));
  try {
    await link(from, to);
  } catch {
    // Of an earlier run, which was cut off before its journal: to copy a file over itself would empty it.
    const there = await stat(to).catch(() => null);
    if (there?.ino === (await stat(from)).ino) return;
    await copyFile(from, to, constants.COPYFILE_FICLONE);
  }
}
