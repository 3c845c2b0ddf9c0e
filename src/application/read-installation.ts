// One folder of a model, as far as its names, sizes and records tell.

import { probeLock, type LockOwner } from '../base/file-lock.js';
import { asFlashmoeError } from '../base/errors.js';
import { modelPaths, type HomePaths, type ModelPaths } from '../base/paths.js';
import { volumeOf } from '../base/volume.js';
import type { PlanSummary } from '../jobs/events.js';
import { readJournal } from '../store/journal.js';
import { readBegunAs, requantiseArguments } from '../store/begun-as.js';
import { absentPlace, locatedPaths } from '../store/location.js';
import { readManifest, type ModelManifest } from '../store/manifest.js';
import { makePlan } from '../transfer/plan.js';
import { currentState } from '../installer/steps/planning.js';
import { readStoredPlan } from '../store/stored-plan.js';

export interface Installation {
  /** Folder name; for 4-bit the model's id, else with the width behind it. */
  id: string;
  paths: ModelPaths;
  /** Who works on it now. */
  owner: LockOwner | null;
  /** Present when a setup finished. */
  manifest: ModelManifest | null;
  /** Of an unfinished setup: how far it is; null when not even its plan was written. */
  plan: PlanSummary | null;
  /** The command that an unfinished one was begun by, where that was no setup. */
  begunAs: string[] | null;
  /** What has to be there again, of one that was moved: a mount point or a folder. */
  away: string | null;
  /** Why the folder can't be understood. */
  problem: string | null;
}

/** Never throws: what can't be understood is its problem. */
export async function readInstallation(home: HomePaths, id: string): Promise<Installation> {
  const none = {
    owner: null,
    manifest: null,
    plan: null,
    begunAs: null,
    away: null,
    problem: null,
  };
  const found: Installation = { ...none, id, paths: modelPaths(home, id) };
  try {
    const paths = await locatedPaths(home, id);
    found.paths = paths;
    const absent = await absentPlace(home, id);
    if (absent !== null)
      return { ...found, away: absent, problem: `${absent}, where it was moved to, is not there` };
    const owner = await probeLock(paths.lock);
    const manifest = await readManifest(paths.manifest);
    const plan = manifest === null ? await unfinishedPlan(paths) : null;
    const begun = await readBegunAs(paths);
    return { ...found, owner, manifest, plan, begunAs: begun && requantiseArguments(begun) };
  } catch (error) {
    return { ...found, problem: asFlashmoeError(error).message };
  }
}

async function unfinishedPlan(paths: ModelPaths): Promise<PlanSummary | null> {
  const stored = await readStoredPlan(paths.plan);
  if (stored === null) return null;
  const state = await currentState(paths, stored, await readJournal(paths.journal));
  const { freeBytes } = await volumeOf(paths.root);
  return makePlan(stored, state, { directory: paths.root, freeBytes, bytesPerSecond: null })
    .summary;
}
