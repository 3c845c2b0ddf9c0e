// The hub a target is fetched from: the one of the environment, or ours on loopback for what is shipped.

import { join } from 'node:path';
import { packageRoot } from '../addon/load.js';
import { startBundledHub } from '../hub/bundled-hub.js';
import { HubClient } from '../hub/client.js';
import { hubSettings } from '../hub/settings.js';
import type { CliContext } from './context.js';
import type { Target } from './target.js';

export interface HubAccess {
  client: HubClient;
  /** What the user should know of the environment's settings. */
  notices: string[];
  close(): Promise<void>;
}

export async function openHub(context: CliContext, target: Target): Promise<HubAccess> {
  const { settings, notices } = await hubSettings({
    env: context.host.env,
    homeDirectory: context.host.homeDirectory,
    userAgent: `flashmoe/${context.version}; node/${context.host.nodeVersion}`,
  });
  if (!target.bundled) {
    const client = new HubClient(settings);
    return { client, notices, close: () => Promise.resolve(client.close()) };
  }
  const folder = join(packageRoot, 'models', target.model);
  const hub = await startBundledHub(folder, target.repo);
  // The user's token is none of its business, and loopback needs no proxy.
  const client = new HubClient({ ...settings, endpoint: hub.endpoint, token: null, proxy: null });
  return {
    client,
    notices: [],
    close: () => {
      client.close();
      return hub.close();
    },
  };
}
