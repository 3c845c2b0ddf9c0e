// Where the bytes of a repository come from: the hub of the settings, or for what comes with flashmoe a hub of our own.

import { startBundledHub } from '../hub/bundled-hub.js';
import { HubClient, type HubClientOptions } from '../hub/client.js';
import type { HubSettings } from '../hub/types.js';

export interface HubSource {
  client: HubClient;
  /** Ends connections and the bundled hub. */
  close(): Promise<void>;
}

/** `bundled`: a folder that is served on loopback as `repo`. */
export async function openHubSource(
  settings: HubSettings,
  { repo, bundled }: { repo: string; bundled: string | null },
  options: HubClientOptions,
): Promise<HubSource> {
  const local = bundled === null ? null : await startBundledHub(bundled, repo);
  const own =
    local === null ? settings : { ...settings, endpoint: local.endpoint, token: null, proxy: null };
  const client = new HubClient(own, options);
  const close = async (): Promise<void> => {
    client.close();
    await local?.close();
  };
  return { client, close };
}
