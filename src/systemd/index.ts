// systemd user units: writes one unit below the user's own configuration and speaks to systemctl --user.
// Knows nothing of what the service does.

import { existsSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { dirname, isAbsolute, join } from 'node:path';
import { writeFileAtomic } from '../base/atomic-file.js';
import { exec } from '../base/exec.js';
import type { ServiceManager, ServiceStatus } from '../service.js';
import { assertLabel, notInstalled } from '../service.js';
import type { UnitState } from './systemctl.js';
import { Systemctl } from './systemctl.js';
import { renderUnit } from './unit.js';

export interface SystemdHost {
  homeDirectory: string;
  env: Readonly<Record<string, string | undefined>>;
}

/** null where no user manager answers: containers, `su` without a login, other init systems. */
export async function systemdManager(
  host: SystemdHost,
  signal: AbortSignal,
): Promise<ServiceManager | null> {
  const systemctl = new Systemctl((args, at) =>
    exec('systemctl', args, { env: host.env, signal: at }),
  );
  if (!(await systemctl.isReachable(signal))) return null;

  const unitName = (label: string): string => {
    assertLabel(label);
    return `${label}.service`;
  };
  const definitionPath = (label: string): string =>
    join(configHome(host), 'systemd', 'user', unitName(label));
  const status = async (label: string, at: AbortSignal): Promise<ServiceStatus> =>
    describe(await systemctl.show(unitName(label), at), definitionPath(label));

  const requireInstalled = (label: string): void => {
    if (!existsSync(definitionPath(label))) throw notInstalled(label);
  };

  return {
    kind: 'systemd',
    render: renderUnit,
    definitionPath,
    status,
    async install(spec, at) {
      const text = renderUnit(spec);
      const path = definitionPath(spec.label);
      for (const folder of [path, spec.stdoutPath, spec.stderrPath].map((file) => dirname(file))) {
        await mkdir(folder, { recursive: true });
      }
      await mkdir(spec.workingDirectory, { recursive: true });
      await writeFileAtomic(path, text, 0o644);
      await systemctl.daemonReload(at);
      const unit = unitName(spec.label);
      if (spec.start === 'login') {
        await systemctl.enable(unit, at);
        await systemctl.restart(unit, at);
      } else {
        await systemctl.disable(unit, at);
        await systemctl.stop(unit, at);
      }
      return status(spec.label, at);
    },
    async start(label, at) {
      requireInstalled(label);
      await systemctl.start(unitName(label), at);
      return status(label, at);
    },
    async stop(label, at) {
      requireInstalled(label);
      await systemctl.stop(unitName(label), at);
      return status(label, at);
    },
    async restart(label, at) {
      requireInstalled(label);
      await systemctl.restart(unitName(label), at);
      return status(label, at);
    },
    async forget(label) {
      const path = definitionPath(label);
      // What `enable` made; asking systemctl to disable would ask it to wait for ourselves.
      await rm(join(dirname(path), 'default.target.wants', unitName(label)), { force: true });
      await rm(path, { force: true });
    },
    async uninstall(label, at) {
      const path = definitionPath(label);
      if (existsSync(path)) {
        await systemctl.disableNow(unitName(label), at);
        await rm(path, { force: true });
        await systemctl.daemonReload(at);
      }
      return status(label, at);
    },
  };
}

/** A relative XDG_CONFIG_HOME is invalid by its specification and ignored. */
function configHome(host: SystemdHost): string {
  const set = host.env['XDG_CONFIG_HOME'];
  return set !== undefined && isAbsolute(set) ? set : join(host.homeDirectory, '.config');
}

function describe(unit: UnitState, path: string): ServiceStatus {
  const installed = existsSync(path);
  return {
    manager: 'systemd',
    installed,
    running: unit.active === 'active' && unit.pid !== null,
    pid: unit.pid,
    lastExitCode: unit.lastExitCode,
    definitionPath: installed ? path : null,
    detail: words(unit, installed),
  };
}

function words(unit: UnitState, installed: boolean): string {
  if (!installed && unit.load === 'not-found') return 'not installed';
  if (!installed) return `${unit.active} (${unit.sub}), but its unit file is gone`;
  const start = unit.file === 'enabled' ? 'starts at login' : 'does not start at login';
  return `${unit.active} (${unit.sub}), ${start}; stops at logout unless lingering is on`;
}
