// Where a running setup is at this moment, as its own view would show it.

import { setTimeout as sleep } from 'node:timers/promises';
import { connectToJob } from './control/client.js';
import { fetchFigures, retryText } from './progress.js';
import { EMPTY_RUN, reduce, type RunView } from './run-view.js';

const ANSWER_MS = 3_000;

export interface LiveFigures {
  doneBytes: number;
  totalBytes: number;
  /** Over the last 10 s; null before there is enough to tell. */
  bytesPerSecond: number | null;
  secondsLeft: { low: number; high: number } | null;
  /** Why nothing moves; null when something does. */
  waiting: string | null;
  /** `paused`, `hours` or an error's code; null when something moves or the next try has a time. */
  waitingCode: string | null;
  /** ISO 8601: the next try, or the hour at which it goes on. */
  nextTry: string | null;
}

/** null when the owner takes no commands or doesn't answer soon. */
export async function liveFigures(
  lockPath: string,
  now: () => number,
): Promise<LiveFigures | null> {
  const connection = await connectToJob(lockPath).catch(() => null);
  if (connection === null) return null;
  let view: RunView = EMPTY_RUN;
  try {
    const told = connection.subscribe((event, t) => {
      view = reduce(view, event, t);
    });
    const isThere = await Promise.race([
      told.then(() => true).catch(() => false),
      sleep(ANSWER_MS, false, { ref: false }),
    ]);
    return isThere ? figuresOf(view, now()) : null;
  } finally {
    connection.close();
  }
}

function figuresOf(view: RunView, now: number): LiveFigures {
  const { doneBytes, totalBytes, bytesPerSecond, secondsLeft } = fetchFigures(view, now);
  const { waiting, retry } = view;
  const holding = waiting?.reason ?? (retry === null ? null : retryText(retry));
  const nextTry =
    waiting !== null ? waiting.until : retry === null ? null : new Date(retry.nextAt).toISOString();
  return {
    doneBytes,
    totalBytes,
    bytesPerSecond,
    secondsLeft,
    waiting: holding,
    waitingCode: waiting?.code ?? null,
    nextTry,
  };
}
