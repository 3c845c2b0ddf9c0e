// The plan of a width that is made of the same model as published, which is here: the checkpoint's own plan at that
// width, from the plan that the model was packed by. Asks nobody, writes nothing.

import { FlashmoeError } from '../../base/errors.js';
import type { ModelPaths } from '../../base/paths.js';
import { volumeOf, type Volume } from '../../base/volume.js';
import { describeFile, type BundledRepo } from '../../hub/bundled-repo.js';
import { join } from 'node:path';
import type { Emit } from '../../jobs/events.js';
import type { Quant } from '../../models/quant.js';
import type { CalibrationRows } from '../../repack/calibration.js';
import { replan } from '../../repack/replan.js';
import { bytesBelow, neededFree } from '../../store/disk-usage.js';
import { differentRun, readJournal } from '../../store/journal.js';
import { hubSideFiles, smallFiles } from '../../store/model-files.js';
import { readStoredPlan, type StoredPlan, type UserFile } from '../../store/stored-plan.js';
import type { PackedModel } from '../../transfer/from-model.js';
import { makePlan, type ProvisioningPlan } from '../../transfer/plan.js';
import { withUserFiles } from '../user-files.js';
import { currentState } from './planning.js';

export interface FromModelTask {
  from: PackedModel;
  paths: ModelPaths;
  quant: Quant;
  size: number | null;
  calibration: CalibrationRows | null;
  userFiles: readonly UserFile[];
  emit: Emit;
  volume?: (path: string) => Promise<Volume>;
}

/** Throws ERR_JOURNAL for a folder where something else was begun. */
export async function planFromModel(task: FromModelTask): Promise<ProvisioningPlan> {
  const { from, paths, emit, volume = volumeOf } = task;
  emit({ type: 'step', step: 'plan', status: 'started' });
  const stored = withUserFiles(await choosePlan(task), task.userFiles);
  const journal = await readJournal(paths.journal);
  const { repo, commit, quant, fingerprint: plan } = stored.pack;
  const different =
    journal &&
    differentRun(journal.header, { ...journal.header, repo, commit, quant, plan }, paths.root);
  if (different) throw different;
  const state = await currentState(paths, stored, journal);
  if (state.transfer !== null && state.layers.size < stored.pack.layers.length) {
    throw new FlashmoeError('ERR_JOURNAL', `${paths.root} is being fetched; nothing was changed`, {
      hint: `go on with \`flashmoe setup\`, or begin anew after \`flashmoe rm\``,
    });
  }
  const { freeBytes } = await volume(paths.root);
  const circumstances = { directory: paths.root, freeBytes, bytesPerSecond: null };
  const made = fromModel(makePlan(stored, state, circumstances), from);
  const neededBytes = neededFree(made.peakBytes, await bytesBelow(paths.root));
  const summary = state.finished ? made.summary : { ...made.summary, neededBytes };
  emit({ type: 'plan', plan: summary });
  emit({ type: 'step', step: 'plan', status: 'done' });
  return { ...made, summary };
}

/** A plan's figures for what is made of `from`: nothing is fetched. Pure. */
export function fromModel(plan: ProvisioningPlan, from: PackedModel): ProvisioningPlan {
  const { stored, recordBytes, summary } = plan;
  const { finalBytes } = summary;
  const layer = Math.max(...stored.pack.layers.map(({ size }) => size));
  const small = smallFiles(stored).reduce((sum, { size }) => sum + size, 0);
  const before = from.inPlace ? from.manifest.finalBytes + layer + small : 0;
  const peakBytes = Math.max(finalBytes, before) + recordBytes;
  const made = { madeOf: from.paths.root, downloadBytes: 0, doneBytes: 0 };
  return { ...plan, peakBytes, summary: { ...summary, ...made, peakBytes } };
}

/** As begun, where nothing else is asked for now; a file that it began with is in its folder by then. */
async function choosePlan(task: FromModelTask): Promise<StoredPlan> {
  const { from, paths, quant, calibration } = task;
  const begun = await readStoredPlan(paths.plan);
  const isSame = begun?.pack.quant === quant && begun.pack.commit === from.stored.pack.commit;
  if (begun !== null && isSame && task.size === null && calibration === null) return begun;
  const { model, revision, sideFiles, pack } = from.stored;
  const besides = sideFiles.reduce((sum, { size }) => sum + size, calibration?.size ?? 0);
  const size = task.size === null ? null : task.size - besides;
  const asked = task.size === null ? {} : { size: task.size };
  const made = replan(pack, { quant, size, calibration });
  return { schema: 1, model, revision, ...asked, sideFiles, pack: made };
}

/** Its tokenizer, template and config files, as a repository that the client of a setup can be pointed at. */
export async function sideFilesOf({ paths, stored }: PackedModel): Promise<BundledRepo> {
  const { repo, commit } = stored.pack;
  const files = await Promise.all(
    hubSideFiles(stored).map(({ path, size, sha256, gitSha1 }) =>
      describeFile({ path, size, absolutePath: join(paths.root, path) }, sha256 ?? gitSha1),
    ),
  );
  return { id: repo, commit, revision: stored.revision, files };
}
