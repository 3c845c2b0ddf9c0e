// flashmoe attach | pause | resume | stop | limit | hours: words for the setup that is running.

import { EXIT, FlashmoeError } from '../../base/errors.js';
import { formatRate } from '../../base/format.js';
import type { Wish } from '../../jobs/control/protocol.js';
import { formatHours } from '../../base/hours.js';
import { readLimits, writeLimits, type LimitChange } from '../../jobs/limits.js';
import type { CliContext } from '../context.js';
import { findJob, findUnfinished } from '../../application/job.js';
import { showJob } from '../setup-view.js';

export async function attach(context: CliContext, model: string | null): Promise<number> {
  return showJob(context, await findJob(context, model));
}

const SAID = {
  pause: 'is paused; `flashmoe resume` goes on',
  resume: 'goes on',
  stop: 'stops; what was finished is kept, and `flashmoe setup` goes on from there',
} as const;

export async function tell(
  context: CliContext,
  model: string | null,
  what: keyof typeof SAID,
): Promise<number> {
  const { id, connection } = await findJob(context, model);
  await ask(connection, { do: what });
  // Its socket closes when everything is on disk.
  if (what === 'stop') await connection.ended;
  connection.close();
  return said(context, what, id, SAID[what]);
}

/** Of the running setup, or of an unfinished one for when it goes on. */
export async function changeLimits(
  context: CliContext,
  model: string | null,
  change: LimitChange,
): Promise<number> {
  const words = describe(change);
  const unfinished = await findUnfinished(context, model);
  const running = await findJob(context, model).catch((error: unknown) => {
    const none = error instanceof FlashmoeError && error.code === 'ERR_MODEL_MISSING';
    if (none && unfinished !== null) return null;
    throw error;
  });
  if (running !== null) {
    await ask(running.connection, { do: 'limits', change });
    running.connection.close();
    return said(context, 'limits', running.id, words);
  }
  if (unfinished === null) return EXIT.failed;
  const { limits } = unfinished.paths;
  await writeLimits(limits, { ...(await readLimits(limits)), ...change });
  return said(context, 'limits', unfinished.id, `${words}, when it goes on`);
}

async function ask(
  connection: { ask: (wish: Wish) => Promise<void>; close: () => void },
  wish: Wish,
): Promise<void> {
  try {
    await connection.ask(wish);
  } catch (error) {
    connection.close();
    throw error;
  }
}

function describe({ bytesPerSecond, hours }: LimitChange): string {
  const rate = bytesPerSecond === null ? 'no limit' : `at most ${formatRate(bytesPerSecond ?? 0)}`;
  const times = hours === null ? 'at any hour' : hours && `at ${formatHours(hours)} only`;
  return [...(bytesPerSecond === undefined ? [] : [rate]), ...(times ? [times] : [])].join(', ');
}

function said(context: CliContext, event: string, id: string, words: string): number {
  if (context.json) context.emit(event, { model: id });
  else context.print(`${id}: ${words}`);
  return EXIT.done;
}
