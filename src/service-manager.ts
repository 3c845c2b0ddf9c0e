// Which service manager this machine has.

import { FlashmoeError } from './base/errors.js';
import { launchdManager } from './launchd/index.js';
import type { ServiceManager } from './service.js';
import { systemdManager } from './systemd/index.js';

export interface ServiceHost {
  platform: string;
  homeDirectory: string;
  userId: number | null;
  env: Readonly<Record<string, string | undefined>>;
}

/** The manager that answers here, or null: a container, an init system of another kind, no user session. */
export async function detectServiceManager(
  host: ServiceHost,
  signal: AbortSignal,
): Promise<ServiceManager | null> {
  if (host.platform === 'darwin' && host.userId !== null) {
    return launchdManager({ ...host, userId: host.userId }, signal);
  }
  return host.platform === 'linux' ? systemdManager(host, signal) : null;
}

/** What to say and do when there is none. */
export function noServiceManager(): FlashmoeError {
  return new FlashmoeError(
    'ERR_SERVICE',
    'neither launchd nor a systemd user manager answers here, so nothing was installed to run at login',
    { hint: 'run `flashmoe serve` yourself, or from the supervisor this machine has' },
  );
}
