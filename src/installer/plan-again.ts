// The plan that a finished model was made by: from its folder, else from the same commit once more.

import { join } from 'node:path';
import { FlashmoeError } from '../base/errors.js';
import type { ModelPaths } from '../base/paths.js';
import type { HubClient } from '../hub/client.js';
import type { HubTask } from '../hub/types.js';
import { CALIBRATION_FILE, readCalibration } from '../repack/calibration.js';
import type { ModelManifest } from '../store/manifest.js';
import { planAt } from './steps/planning.js';
import { readStoredPlan, writeStoredPlan, type StoredPlan } from '../store/stored-plan.js';

/** Throws ERR_PLAN when neither gives the fingerprint of the manifest. */
export async function planOfModel(
  paths: ModelPaths,
  manifest: ModelManifest,
  client: HubClient,
  task: HubTask,
): Promise<StoredPlan> {
  const known = await readStoredPlan(paths.plan);
  if (known?.pack.fingerprint === manifest.fingerprint) return known;
  const { model, repo, revision, commit, quant, fingerprint } = manifest;
  const listing = await client.listAt(repo, revision, commit, task);
  const emit = (event: { type: string; message?: string }): void => {
    if (event.type === 'notice') task.emit({ type: 'notice', message: event.message ?? '' });
  };
  const isWeighed = manifest.files.some(({ path }) => path === CALIBRATION_FILE);
  const calibration = isWeighed ? await readCalibration(join(paths.root, CALIBRATION_FILE)) : null;
  const { file = null } = manifest;
  const asking = { model, quant, size: null, file, calibration, client, emit, signal: task.signal };
  const again = await planAt(asking, listing);
  if (again.pack.fingerprint !== fingerprint) {
    throw new FlashmoeError(
      'ERR_PLAN',
      `${paths.plan} is lost, and this version plans ${model} otherwise; nothing was changed`,
      { hint: `\`flashmoe rm ${model}\`, then \`flashmoe setup ${model}\``, subject: paths.plan },
    );
  }
  await writeStoredPlan(paths.plan, again);
  return again;
}
