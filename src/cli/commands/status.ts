// flashmoe status: what is on disk, and which setup is under way.

import { existsSync } from 'node:fs';
import type { BackendName } from '../../addon/types.js';
import { EXIT } from '../../base/errors.js';
import { volumeOf } from '../../base/volume.js';
import { expectedBackend } from '../../engine/backend.js';
import { statusText, type HomeStatus, type ModelStatus } from '../../ui/status-view.js';
import type { CliContext } from '../context.js';
import { listInstallations } from '../../application/installations.js';
import type { Installation } from '../../application/read-installation.js';
import { choose, isReady } from '../../application/ready-models.js';
import { commandLine } from '../../application/command-line.js';
import { inspectSettings } from '../../settings/file.js';
import type { Settings } from '../../settings/schema.js';

export async function status(context: CliContext): Promise<number> {
  const { home } = context;
  const installations = await listInstallations(home);
  const { settings, problems } = await inspectSettings(home.settings);
  for (const problem of problems) context.note(`${home.settings}: ${problem}`);
  const found: HomeStatus = {
    home: home.home,
    freeBytes: (await volumeOf(home.models)).freeBytes,
    models: await Promise.all(installations.map((each) => statusOf(context, each))),
    defaultModel: defaultOf(installations, settings),
    backend:
      settings.backend === undefined
        ? { ...(await machineBackend(context)), by: 'machine' }
        : { name: settings.backend, problem: null, by: 'settings' },
  };
  if (context.json) context.emit('status', found);
  else {
    const width = context.stdout.isTTY ? Math.min(context.stdout.columns || 80, 120) : null;
    context.print(statusText(found, context.style, width));
  }
  return EXIT.done;
}

/** A Mac's GPU is asked, in a child process: one that does not answer must not pass for one that computes. */
async function machineBackend(
  context: CliContext,
): Promise<{ name: BackendName; problem: string | null }> {
  const { host, signal } = context;
  const expected = expectedBackend(host);
  if (expected !== 'metal') return { name: expected, problem: null };
  const { addonPaths } = await import('../../application/native.js');
  const path = addonPaths(context).find((candidate) => existsSync(candidate));
  if (path === undefined) return { name: expected, problem: null };
  const { probeDevice } = await import('../../addon/backend-probe.js');
  const found = await probeDevice({ path, node: host.execPath }, signal);
  if (found.device !== null) return { name: 'metal', problem: null };
  return { name: 'cpu', problem: `the GPU does not answer: ${found.reason}` };
}

/** Folder of the model that answers when none is named; null when that isn't clear. */
function defaultOf(installations: readonly Installation[], settings: Settings): string | null {
  try {
    return choose(installations.filter(isReady), null, settings).id;
  } catch {
    return null;
  }
}

async function statusOf({ host }: CliContext, installation: Installation): Promise<ModelStatus> {
  const { id, manifest, plan, owner, problem, paths } = installation;
  const common = { id, pid: owner?.pid ?? null, since: owner?.since ?? null };
  const about = manifest ?? plan;
  const { stateOf } = await import('../../application/state-of.js');
  const { liveFigures } = await import('../../jobs/live-figures.js');
  const live = owner === null ? null : await liveFigures(paths.lock, () => host.now());
  const { state, why, next } = await stateOf(installation, live);
  const now = { state, why, next: commandLine(next) };
  if (problem !== null) return { ...UNKNOWN, ...common, ...now, detail: problem };
  return {
    ...UNKNOWN,
    ...common,
    ...now,
    model: about?.model ?? null,
    quant: about?.quant ?? null,
    userFiles: manifest?.userFiles ?? [],
    commit: about?.commit ?? null,
    bytes: manifest?.finalBytes ?? null,
    doneBytes: live?.doneBytes ?? plan?.doneBytes ?? null,
    totalBytes: live?.totalBytes ?? plan?.downloadBytes ?? null,
    bytesPerSecond: live?.bytesPerSecond ?? null,
    secondsLeft: live?.secondsLeft ?? null,
    waiting: live?.waiting ?? null,
    nextTry: live?.nextTry ?? null,
  };
}

const UNKNOWN: Omit<ModelStatus, 'id' | 'state' | 'why' | 'next'> = {
  model: null,
  quant: null,
  bytes: null,
  doneBytes: null,
  totalBytes: null,
  commit: null,
  pid: null,
  since: null,
  bytesPerSecond: null,
  secondsLeft: null,
  waiting: null,
  nextTry: null,
  detail: null,
  userFiles: [],
};
