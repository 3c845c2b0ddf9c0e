// The server of a home as a service: its definition names the published command.

import { join } from 'node:path';
import { packageRoot } from '../base/package-root.js';
import { serverService, serviceLogs } from '../service-command.js';
import type { ServiceSpec } from '../service.js';
import type { AppContext } from './context.js';

/** Definitions and processes that outlive an upgrade point here. */
export const COMMAND_ENTRY = join(packageRoot, 'dist', 'cli', 'main.js');

/** What `flashmoe service install` writes. */
export function serviceOf(
  { host, home }: Pick<AppContext, 'host' | 'home'>,
  start: ServiceSpec['start'] = 'login',
): ServiceSpec {
  const logs = serviceLogs(home, host.homeDirectory, host.platform);
  return serverService({ node: host.execPath, entry: COMMAND_ENTRY, home, logs, start });
}
