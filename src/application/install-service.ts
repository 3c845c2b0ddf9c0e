// The server at login, unless Homebrew starts it already: two of them would fight for the port at every login.

import { existsSync } from 'node:fs';
import { FlashmoeError } from '../base/errors.js';
import { homebrewDefinition, type ServiceManager, type ServiceStatus } from '../service.js';
import type { AppContext } from './context.js';
import { serviceOf } from './service.js';

/** Homebrew's definition of the server; null where it has none. */
export function homebrewService({ host }: Pick<AppContext, 'host'>): string | null {
  const path = homebrewDefinition(host);
  return existsSync(path) ? path : null;
}

/** ERR_SERVICE where Homebrew's definition is there; else as the manager says. */
export async function installServer(
  context: AppContext,
  manager: ServiceManager,
  start: 'login' | 'demand' = 'login',
): Promise<ServiceStatus> {
  const brew = homebrewService(context);
  if (brew !== null) {
    throw new FlashmoeError('ERR_SERVICE', `Homebrew starts the server already: ${brew}`, {
      hint: 'keep that one, or `brew services stop flashmoe` and then `flashmoe service install`',
    });
  }
  return manager.install(serviceOf(context, start), context.signal);
}
