// Threads that make things ready stand behind the ones that make tokens: a running answer is what somebody
// watches. Linux alone has priorities of threads that a program may lower; elsewhere nothing is done.

import { readlinkSync } from 'node:fs';
import { setPriority } from 'node:os';

/** A third of the share that others get where processors are short. */
const NICENESS = 5;

/** Of the calling thread. */
export function stepBack() {
  if (process.platform !== 'linux') return;
  try {
    const thread = Number(readlinkSync('/proc/thread-self').split('/').at(-1));
    if (thread !== process.pid) setPriority(thread, NICENESS);
  } catch {
    // Without /proc, as everybody else.
  }
}
