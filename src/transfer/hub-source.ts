// Where the bytes of a repository come from: the hub of the settings, or for what is here already a hub of our own.

import { serveRepo, startBundledHub } from '../hub/bundled-hub.js';
import type { BundledRepo } from '../hub/bundled-repo.js';
import { HubClient, type HubClientOptions } from '../hub/client.js';
import type { HubSettings } from '../hub/types.js';
import { serveFolder, type FolderTask } from './folder-source.js';

export interface HubSource {
  client: HubClient;
  /** Ends connections and a hub of our own. */
  close(): Promise<void>;
}

/** A folder that comes with flashmoe, one of the user's, or null: from the hub. */
export interface SourceFolders {
  bundled: string | null;
  carried?: FolderTask | null;
}

/** A folder is served on loopback as `repo`. */
export async function openHubSource(
  settings: HubSettings,
  { repo, bundled, carried = null }: SourceFolders & { repo: string },
  options: HubClientOptions,
): Promise<HubSource> {
  const folder = carried === null ? null : await serveFolder(settings, carried);
  const local = folder?.hub ?? (bundled === null ? null : await startBundledHub(bundled, repo));
  const own =
    local === null ? settings : { ...settings, endpoint: local.endpoint, token: null, proxy: null };
  const paths = folder?.paths ?? null;
  const client =
    paths === null
      ? new HubClient(own, options)
      : new HubClient(settings, { ...options, nearby: { settings: own, paths } });
  const close = async (): Promise<void> => {
    client.close();
    await local?.close();
  };
  return { client, close };
}

/** A repository of this machine, on a loopback port; no other is asked. */
export async function openOwnSource(
  settings: HubSettings,
  repo: BundledRepo,
  options: HubClientOptions,
): Promise<HubSource> {
  const own = await serveRepo(repo);
  const { endpoint } = own;
  const client = new HubClient({ ...settings, endpoint, token: null, proxy: null }, options);
  const close = async (): Promise<void> => {
    client.close();
    await own.close();
  };
  return { client, close };
}
