// The server at login, unless Homebrew starts it already: two of them would fight for the port at every login.

import { existsSync } from 'node:fs';
import { FlashmoeError } from '../base/errors.js';
import { homebrewDefinition, type ServiceManager, type ServiceStatus } from '../service.js';
import type { AppContext } from './context.js';
import { serviceOf } from './service.js';

/** ERR_SERVICE where Homebrew's definition is there; else as the manager says. */
export async function installServer(
  context: AppContext,
  manager: ServiceManager,
  start: 'login' | 'demand' = 'login',
): Promise<ServiceStatus> {
  const brew = homebrewDefinition(context.host);
  if (existsSync(brew)) {
    throw new FlashmoeError('ERR_SERVICE', `Homebrew starts the server already: ${brew}`, {
      hint: 'keep that one, or `brew services stop flashmoe` and then `flashmoe service install`',
    });
  }
  return manager.install(serviceOf(context, start), context.signal);
}
