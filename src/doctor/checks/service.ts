import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import type { Check } from '../check.js';
import type { Finding, Fix } from '../finding.js';
import type { ServiceManager, ServiceStatus } from '../../service.js';
import type { DoctorContext } from '../context.js';

const REINSTALL = 'flashmoe service install';
const begin: Fix = {
  what: 'start the service',
  command: ['flashmoe', 'service', 'start'],
  safe: true,
};
/** Writes the definition anew and restarts the server: answers that are under way end. */
const rewrite: Fix = {
  what: 'write the definition of the service anew and restart it',
  command: ['flashmoe', 'service', 'install'],
  safe: false,
};

/** The definition file: no path that an upgrade deletes, programs that exist, what this version would write. */
export const definition: Check = {
  id: 'service.definition',
  title: 'definition of the background service: no versioned path, programs exist',
  timeoutMs: 10_000,
  async run(context, signal) {
    const manager = await context.serviceManager(signal);
    const path = manager?.definitionPath(context.service.label);
    if (!manager || path === undefined) return [noManager];
    let text: string;
    try {
      text = await readFile(path, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      return [notInstalled('service.definition')];
    }
    return [judge(context, manager, path, text)];
  },
};

function judge(
  context: DoctorContext,
  manager: ServiceManager,
  path: string,
  text: string,
): Finding {
  const found = /[^\s"<>]*\/Cellar\/[^\s"<>]*/.exec(text)?.[0];
  if (found !== undefined) {
    return {
      id: 'service.cellar_path',
      severity: 'fail',
      title: `${path} names ${found}`,
      why: 'the next `brew upgrade` deletes that folder, and the service then fails at every login',
      hint: REINSTALL,
      fix: rewrite,
    };
  }
  const missing = context.service.command.slice(0, 2).find((program) => !existsSync(program));
  if (missing !== undefined) {
    return {
      id: 'service.program',
      severity: 'fail',
      title: `the service would run ${missing}, which does not exist`,
      hint: REINSTALL,
      fix: rewrite,
    };
  }
  const current = (['login', 'demand'] as const).map((start) =>
    manager.render({ ...context.service, start }),
  );
  if (!current.includes(text)) {
    return {
      id: 'service.outdated',
      severity: 'warn',
      title: `${path} differs from what flashmoe ${context.version} writes`,
      why: 'it was edited, or written by another version or for another home',
      hint: REINSTALL,
      fix: rewrite,
    };
  }
  return { id: 'service.definition', severity: 'ok', title: `${path} is up to date` };
}

/** Whether it runs, and how it ended last. */
export const state: Check = {
  id: 'service.state',
  title: 'background service: running, last exit',
  timeoutMs: 10_000,
  async run(context, signal) {
    const manager = await context.serviceManager(signal);
    // The definition's finding says what to do instead.
    if (!manager) return [{ id: 'service.state', severity: 'skip', title: NO_MANAGER }];
    const status = await manager.status(context.service.label, signal);
    const text = await readFile(manager.definitionPath(context.service.label), 'utf8').catch(
      () => '',
    );
    const isOnDemand = text === manager.render({ ...context.service, start: 'demand' });
    return [verdict(status, context, isOnDemand)];
  },
};

function verdict(status: ServiceStatus, context: DoctorContext, isOnDemand: boolean): Finding {
  const id = 'service.state';
  if (!status.installed) return notInstalled(id);
  const title = `${status.manager}: ${status.detail}`;
  if (status.running) return { id, severity: 'ok', title };
  if (status.lastExitCode === null || status.lastExitCode === 0) {
    const hint = 'flashmoe service start';
    return { id, severity: isOnDemand ? 'info' : 'warn', title, hint, fix: begin };
  }
  return {
    id,
    severity: 'fail',
    title: `${title}; it ended with status ${status.lastExitCode}`,
    hint: `flashmoe service logs, and read ${context.service.stderrPath}`,
  };
}

const NO_MANAGER = 'neither launchd nor a systemd user manager answers here';

const noManager: Finding = {
  id: 'service.definition',
  severity: 'skip',
  title: NO_MANAGER,
  hint: 'flashmoe serve',
};

const notInstalled = (id: string): Finding => ({
  id,
  severity: 'info',
  title: 'no background service is installed',
  hint: REINSTALL,
});
