// What `verify --repair` does about its findings, with the hub of this environment.

import { join } from 'node:path';
import { packageRoot } from '../base/package-root.js';
import type { NativeAddon } from '../addon/types.js';
import { hubSettings } from '../hub/settings.js';
import type { HubEvent } from '../hub/types.js';
import { openHubSource } from '../transfer/hub-source.js';
import { writeManifest, type ModelManifest } from '../store/manifest.js';
import { planOfModel } from '../installer/plan-again.js';
import { repairFiles, type RepairedFile } from '../store/repair/repair.js';
import type { VerifiedFile } from '../repack/verify.js';
import type { AppContext } from './context.js';
import type { Installation } from './read-installation.js';
import { isBundled } from './target.js';

/** A model with the manifest that its files are held against. */
export interface Checked extends Pick<Installation, 'id' | 'paths'> {
  manifest: ModelManifest;
  /** manifest.json itself can't be read; this one is made from the journal. */
  manifestLost: boolean;
}

/** Waits for the hub as a setup does, tells it as an event; HF_HUB_OFFLINE ends it with ERR_OFFLINE. */
export async function repairModel(
  context: AppContext,
  addon: NativeAddon,
  { paths, manifest, manifestLost }: Checked,
  bad: readonly VerifiedFile[],
  emit: (event: HubEvent) => void,
): Promise<RepairedFile[]> {
  const { host, version, signal } = context;
  const { settings } = await hubSettings({
    env: host.env,
    homeDirectory: host.homeDirectory,
    userAgent: `flashmoe/${version}; node/${host.nodeVersion}`,
  });
  const { model, repo } = manifest;
  const bundled = isBundled(repo) ? join(packageRoot, 'models', model) : null;
  const source = await openHubSource(settings, { repo, bundled }, {});
  try {
    const { client } = source;
    const stored = await planOfModel(paths, manifest, client, { emit, signal });
    const task = { paths, manifest, stored, addon, client, emit, signal, threads: host.cores };
    const repaired = bad.length === 0 ? [] : await repairFiles(bad, task);
    // The receipt went with the old one: the next setup asks the model its known answers again.
    if (manifestLost) await writeManifest(paths.manifest, manifest);
    return repaired;
  } finally {
    await source.close();
  }
}
