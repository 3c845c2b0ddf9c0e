// flashmoe status: what is on disk, and which setup is under way.

import { EXIT } from '../../base/errors.js';
import { volumeOf } from '../../base/volume.js';
import type { InstallEvent } from '../../installer/events.js';
import { statusText, type HomeStatus, type ModelStatus } from '../../ui/status-view.js';
import type { CliContext } from '../context.js';
import { listInstallations, type Installation } from '../installations.js';
import { choose, isReady } from '../installed.js';
import { readSettings, type Settings } from '../settings.js';

export async function status(context: CliContext): Promise<number> {
  const { home } = context;
  const installations = await listInstallations(home);
  const settings = await readSettings(home.settings);
  const found: HomeStatus = {
    home: home.home,
    freeBytes: (await volumeOf(home.models)).freeBytes,
    models: installations.map(statusOf),
    defaultModel: defaultOf(installations, settings),
  };
  if (context.json) context.emit('status', found);
  else context.print(statusText(found, context.style, Math.min(context.stdout.columns || 80, 120)));
  return EXIT.done;
}

/** Folder of the model that answers when none is named; null when that isn't clear. */
function defaultOf(installations: readonly Installation[], settings: Settings): string | null {
  try {
    return choose(installations.filter(isReady), null, settings).id;
  } catch {
    return null;
  }
}

function statusOf({ id, manifest, plan, owner, problem }: Installation): ModelStatus {
  const common = { id, pid: owner?.pid ?? null, since: owner?.since ?? null };
  if (problem !== null) return { ...UNKNOWN, ...common, state: 'unreadable', detail: problem };
  const state = owner !== null ? 'running' : manifest !== null ? 'ready' : 'unfinished';
  const about = manifest ?? plan;
  return {
    ...UNKNOWN,
    ...common,
    state,
    model: about?.model ?? null,
    quant: about?.quant ?? null,
    commit: about?.commit ?? null,
    bytes: manifest?.finalBytes ?? null,
    detail: waitingReason(owner?.state),
    doneBytes: plan?.doneBytes ?? null,
    totalBytes: plan?.downloadBytes ?? null,
  };
}

/** A setup answers with its latest event; what it waits for matters more than how far it is. */
function waitingReason(state: unknown): string | null {
  const event = state as Partial<Extract<InstallEvent, { type: 'waiting' }>> | null | undefined;
  return event?.type === 'waiting' ? `waiting: ${String(event.reason)}` : null;
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
  detail: null,
};
