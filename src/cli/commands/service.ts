// flashmoe service install | start | stop | restart | uninstall | status.

import type { BackendName } from '../../addon/types.js';
import { EXIT } from '../../base/errors.js';
import { SERVER_LABEL } from '../../service-command.js';
import { detectServiceManager, noServiceManager } from '../../service-manager.js';
import type { ServiceManager, ServiceStatus } from '../../service.js';
import { installServer } from '../../application/install-service.js';
import { serviceOf } from '../../application/service.js';
import type { CliContext } from '../context.js';
import { changeSettings } from '../../settings/file.js';

export interface InstallArgs {
  dryRun: boolean;
  onDemand: boolean;
  /** For the server and every other command from now on; null leaves the settings as they are. */
  backend: BackendName | null;
}

export async function installService(context: CliContext, args: InstallArgs): Promise<number> {
  const manager = await needManager(context);
  const start = args.onDemand ? 'demand' : 'login';
  if (args.dryRun) {
    const spec = serviceOf(context, start);
    const path = manager.definitionPath(spec.label);
    const text = manager.render(spec);
    if (context.json) context.emit('service', { dryRun: true, path, text });
    else context.print(text.trimEnd());
    return EXIT.done;
  }
  // Not in the definition, which stays the same: the server reads the settings when it starts.
  if (args.backend !== null) await changeSettings(context.home.settings, { backend: args.backend });
  return report(context, await installServer(context, manager, start));
}

export type Order = 'start' | 'stop' | 'restart';

export async function orderService(context: CliContext, order: Order): Promise<number> {
  const manager = await needManager(context);
  return report(context, await manager[order](SERVER_LABEL, context.signal));
}

export async function uninstallService(context: CliContext): Promise<number> {
  const manager = await needManager(context);
  return report(context, await manager.uninstall(SERVER_LABEL, context.signal));
}

export async function serviceStatus(context: CliContext): Promise<number> {
  const manager = await detectServiceManager(context.host, context.signal);
  if (manager !== null) {
    return report(context, await manager.status(SERVER_LABEL, context.signal));
  }
  return report(context, {
    manager: 'none',
    installed: false,
    running: false,
    pid: null,
    lastExitCode: null,
    definitionPath: null,
    detail: noServiceManager().message,
  });
}

async function needManager(context: CliContext): Promise<ServiceManager> {
  const manager = await detectServiceManager(context.host, context.signal);
  if (manager === null) throw noServiceManager();
  return manager;
}

function report(context: CliContext, status: ServiceStatus): number {
  if (context.json) {
    context.emit('service', status);
    return EXIT.done;
  }
  const running = status.pid === null ? 'running' : `running as process ${status.pid}`;
  const stopped = status.installed ? 'installed, not running' : 'not installed';
  const { ok, skip } = context.style.glyph;
  const mark = status.running ? context.style.good(ok) : skip;
  context.print(`${mark} service ${status.running ? running : stopped}`);
  if (status.detail !== '') context.print(`  ${status.detail}`);
  if (status.definitionPath !== null) context.print(`  ${status.definitionPath}`);
  return EXIT.done;
}
