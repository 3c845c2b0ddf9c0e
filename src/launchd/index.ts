// LaunchAgents: writes one plist below the user's own Library and speaks to launchctl. Knows nothing of
// what the service does. The job lives with the login: logged out means not running.

import { existsSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { writeFileAtomic } from '../base/atomic-file.js';
import { exec } from '../base/exec.js';
import type { ServiceManager, ServiceSpec, ServiceStatus } from '../service.js';
import { assertLabel, notInstalled } from '../service.js';
import type { JobState, Pace, RunLaunchctl } from './launchctl.js';
import { Launchctl } from './launchctl.js';
import { renderPlist } from './plist.js';

export interface LaunchdHost {
  homeDirectory: string;
  userId: number;
  env: Readonly<Record<string, string | undefined>>;
}

/** ExitTimeOut is 30 s; a little more before giving up. */
const PACE: Pace = { intervalMs: 250, attempts: 160 };

/**
 * Probes for a graphical login and manages jobs there; over SSH without one, in the user's background
 * domain. null where there is no launchctl.
 */
export async function launchdManager(
  host: LaunchdHost,
  signal: AbortSignal,
  pace: Pace = PACE,
): Promise<ServiceManager | null> {
  const run: RunLaunchctl = (args, at) => exec('launchctl', args, { env: host.env, signal: at });
  const gui = `gui/${host.userId}`;
  const probe = await run(['print', gui], signal);
  if (probe.exitCode === null) return null;
  const graphical = probe.exitCode === 0;
  const launchctl = new Launchctl(run, graphical ? gui : `user/${host.userId}`);
  const session = graphical ? 'Aqua' : 'Background';

  const definitionPath = (label: string): string => {
    assertLabel(label);
    return join(host.homeDirectory, 'Library', 'LaunchAgents', `${label}.plist`);
  };
  const status = async (label: string, at: AbortSignal): Promise<ServiceStatus> => {
    const job = await launchctl.print(label, at);
    const disabled = !job.loaded && (await launchctl.isDisabled(label, at));
    return describe(job, definitionPath(label), launchctl.domain, disabled);
  };
  const load = async (label: string, at: AbortSignal): Promise<void> => {
    await launchctl.enable(label, at);
    await launchctl.bootstrap(label, definitionPath(label), pace, at);
  };
  const start = async (label: string, at: AbortSignal): Promise<void> => {
    if (!(await launchctl.print(label, at)).loaded) await load(label, at);
    // A job that starts on demand is only loaded by now; one that runs already is left alone.
    const { pid } = await launchctl.print(label, at);
    if (pid === null) await launchctl.kickstart(label, false, at);
  };
  const requireInstalled = (label: string): void => {
    if (!existsSync(definitionPath(label))) throw notInstalled(label);
  };

  return {
    kind: 'launchd',
    render: (spec) => renderPlist(spec, session),
    definitionPath,
    status,
    async install(spec, at) {
      const text = renderPlist(spec, session);
      const path = definitionPath(spec.label);
      await prepareFolders(spec, path);
      await launchctl.bootout(spec.label, pace, at);
      await writeFileAtomic(path, text, 0o644);
      await load(spec.label, at);
      return status(spec.label, at);
    },
    async start(label, at) {
      requireInstalled(label);
      await start(label, at);
      return status(label, at);
    },
    async stop(label, at) {
      requireInstalled(label);
      // Not a signal: a job that crashes over and over has no process to send one to.
      await launchctl.bootout(label, pace, at);
      return status(label, at);
    },
    async restart(label, at) {
      requireInstalled(label);
      if ((await launchctl.print(label, at)).loaded) await launchctl.kickstart(label, true, at);
      else await start(label, at);
      return status(label, at);
    },
    // Loaded until logout, but neither kept alive nor found at the next login.
    forget: (label) => rm(definitionPath(label), { force: true }),
    async uninstall(label, at) {
      const path = definitionPath(label);
      await launchctl.bootout(label, pace, at);
      await rm(path, { force: true });
      return status(label, at);
    },
  };
}

/** launchd answers a missing working directory or log folder with status 78 and no word. */
async function prepareFolders(spec: ServiceSpec, definition: string): Promise<void> {
  const folders = [definition, spec.stdoutPath, spec.stderrPath].map((path) => dirname(path));
  for (const folder of [spec.workingDirectory, ...folders]) {
    await mkdir(folder, { recursive: true });
  }
}

function describe(job: JobState, path: string, domain: string, disabled: boolean): ServiceStatus {
  const installed = existsSync(path);
  return {
    manager: 'launchd',
    installed,
    running: job.pid !== null,
    pid: job.pid,
    lastExitCode: job.lastExitCode,
    definitionPath: installed ? path : null,
    detail: disabled ? SWITCHED_OFF : words(job, installed, domain),
  };
}

const SWITCHED_OFF =
  'switched off in System Settings, General, Login Items; `flashmoe service start` switches it on';

function words(job: JobState, installed: boolean, domain: string): string {
  if (!installed && !job.loaded) return 'not installed';
  if (!installed) return `loaded in ${domain}, but its file is gone`;
  if (!job.loaded) return `installed, but not loaded in ${domain}`;
  if (job.pid !== null) return `running in ${domain}, stops at logout`;
  if (job.lastExitCode === 78) {
    return 'launchd could not start it (78): program, working directory or log folder is missing';
  }
  return `loaded in ${domain}, ${job.state ?? 'state unknown'}`;
}
