// What goes over the socket of a running setup, one JSON object a line. The owner greets with
// `{pid, since, state, control: 1}` (see file-lock.ts); a client that only wants to know goes then, another
// sends commands and is answered one for one. Events come after `subscribe`: first what a view needs to be
// where the owner's is, then `{replayed: true}`, then what happens. `failed` or `finished` is the last.

import * as z from 'zod';
import type { InstallEvent } from '../events.js';
import { limitValues } from '../limits.js';

/** Of owner and client; they work together only when it is the same. */
export const CONTROL_VERSION = 1;
/** A command is a few words; an event of a plan or a receipt some kilobytes. */
export const COMMAND_LIMIT = 4 * 1024;
export const EVENT_LIMIT = 1024 * 1024;

const id = z.number().int().nonnegative();

export const command = z.discriminatedUnion('do', [
  z.object({ id, do: z.literal('subscribe') }),
  z.object({ id, do: z.literal('pause') }),
  z.object({ id, do: z.literal('resume') }),
  z.object({ id, do: z.literal('limits'), change: limitValues.partial() }),
  z.object({ id, do: z.literal('stop') }),
]);

export type Command = z.infer<typeof command>;
type WithoutId<T> = T extends unknown ? Omit<T, 'id'> : never;
export type Wish = WithoutId<Command>;

export type Message =
  | { re: number; ok: true }
  | { re: number; ok: false; message: string }
  | { replayed: true }
  /** `t` in milliseconds since the epoch. */
  | { t: number; event: InstallEvent };

export interface TimedEvent {
  t: number;
  event: InstallEvent;
}

/** Cuts a stream into lines; `tooLong` when one passes the limit, after which nothing more is handed on. */
export function lineReader(
  limit: number,
  onLine: (line: string) => void,
  tooLong: () => void,
): (chunk: string) => void {
  let rest = '';
  let dead = false;
  return (chunk) => {
    if (dead) return;
    const parts = (rest + chunk).split('\n');
    rest = parts.pop() ?? '';
    if (rest.length > limit || parts.some((part) => part.length > limit)) {
      dead = true;
      rest = '';
      tooLong();
      return;
    }
    for (const part of parts) onLine(part);
  };
}
