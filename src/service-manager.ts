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
  try {
    if (host.platform === 'darwin' && host.userId !== null) {
      return await launchdManager({ ...host, userId: host.userId }, signal);
    }
    if (host.platform === 'linux') return await systemdManager(host, signal);
    return null;
  } catch (error) {
    // Without the command itself there is no manager; anything else is a failure to report.
    if (error instanceof FlashmoeError && isMissing(error.cause)) return null;
    throw error;
  }
}

function isMissing(cause: unknown): boolean {
  return (cause as NodeJS.ErrnoException | undefined)?.code === 'ENOENT';
}

/** What to say and do when there is none. */
export function noServiceManager(): FlashmoeError {
  return new FlashmoeError(
    'ERR_SERVICE',
    'neither launchd nor a systemd user manager answers here, so nothing was installed to run at login',
    { hint: 'run `flashmoe serve` yourself, or from the supervisor this machine has' },
  );
}
