// flashmoe status: what is on disk, and which setup is under way.

import { existsSync } from 'node:fs';
import { probeDevice } from '../../addon/backend-probe.js';
import type { BackendName } from '../../addon/types.js';
import { EXIT } from '../../base/errors.js';
import { volumeOf } from '../../base/volume.js';
import { expectedBackend } from '../../engine/backend.js';
import { statusText, type HomeStatus, type ModelStatus } from '../../ui/status-view.js';
import type { CliContext } from '../context.js';
import { listInstallations, type Installation } from '../../application/installations.js';
import { choose, isReady } from '../../application/installed.js';
import { liveFigures } from '../live-job.js';
import { addonPaths } from '../../application/native.js';
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
  else context.print(statusText(found, context.style, Math.min(context.stdout.columns || 80, 120)));
  return EXIT.done;
}

/** A Mac's GPU is asked, in a child process: one that does not answer must not pass for one that computes. */
async function machineBackend(
  context: CliContext,
): Promise<{ name: BackendName; problem: string | null }> {
  const { host, signal } = context;
  const path = addonPaths(context).find((candidate) => existsSync(candidate));
  if (expectedBackend(host) !== 'metal' || path === undefined) {
    return { name: expectedBackend(host), problem: null };
  }
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

async function statusOf(
  { host }: CliContext,
  { id, manifest, plan, owner, problem, paths }: Installation,
): Promise<ModelStatus> {
  const common = { id, pid: owner?.pid ?? null, since: owner?.since ?? null };
  if (problem !== null) return { ...UNKNOWN, ...common, state: 'unreadable', detail: problem };
  const state = owner !== null ? 'running' : manifest !== null ? 'ready' : 'unfinished';
  const about = manifest ?? plan;
  const live = owner === null ? null : await liveFigures(paths.lock, () => host.now());
  return {
    ...UNKNOWN,
    ...common,
    state,
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

const UNKNOWN: Omit<ModelStatus, 'id' | 'state'> = {
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
