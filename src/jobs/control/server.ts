// The owner's side of the socket: every view is told what happens, and any of them may give a command. A view
// that doesn't read is no reason to wait: it misses progress first, and is let go at last.

import type { Socket } from 'node:net';
import type { FlashmoeError } from '../../base/errors.js';
import { asFlashmoeError } from '../../base/errors.js';
import type { InstallEvent } from '../events.js';
import type { LimitChange } from '../limits.js';
import { History } from './history.js';
import { command, COMMAND_LIMIT, lineReader, type Command, type Message } from './protocol.js';

const MOST_CLIENTS = 32;
/** Unread bytes of one view: above the first it gets no progress, above the second nothing more at all. */
const SLOW_BYTES = 256 * 1024;
const LOST_BYTES = 8 * 1024 * 1024;
/** How long a view may take to read the end. */
const FAREWELL_MS = 1_000;

export interface JobCommands {
  pause(): void;
  resume(): void;
  /** Applies and keeps it. */
  limits(change: LimitChange): Promise<void>;
  stop(): void;
}

export class JobServer {
  readonly #commands: JobCommands;
  readonly #now: () => number;
  readonly #history = new History();
  readonly #clients = new Set<Socket>();
  readonly #subscribers = new Set<Socket>();
  #latest: InstallEvent | null = null;

  constructor(commands: JobCommands, now: () => number) {
    this.#commands = commands;
    this.#now = now;
  }

  /** For the greeting: the last event. */
  get latest(): InstallEvent | null {
    return this.#latest;
  }

  /** Takes a connection that was greeted. */
  accept(socket: Socket): void {
    if (this.#clients.size >= MOST_CLIENTS) {
      socket.end();
      return;
    }
    this.#clients.add(socket);
    socket.on('close', () => {
      this.#clients.delete(socket);
      this.#subscribers.delete(socket);
    });
    socket.setEncoding('utf8');
    const onLine = (line: string): void => void this.#answer(socket, line);
    socket.on(
      'data',
      lineReader(COMMAND_LIMIT, onLine, () => socket.destroy()),
    );
  }

  publish(event: InstallEvent): void {
    const t = this.#now();
    this.#latest = event;
    this.#history.add(event, t);
    const droppable = event.type === 'progress' || event.type === 'disk';
    const line = messageLine({ t, event });
    for (const socket of this.#subscribers) {
      if (socket.writableLength > LOST_BYTES) socket.destroy();
      else if (!droppable || socket.writableLength <= SLOW_BYTES) socket.write(line);
    }
  }

  /** Ends every connection when it has read what was said, or soon. */
  async close(): Promise<void> {
    await Promise.all(
      [...this.#clients].map(
        (socket) =>
          new Promise<void>((resolve) => {
            const timer = setTimeout(() => socket.destroy(), FAREWELL_MS);
            socket.on('close', () => {
              clearTimeout(timer);
              resolve();
            });
            if (socket.destroyed) resolve();
            else socket.end(() => socket.destroy());
          }),
      ),
    );
  }

  async #answer(socket: Socket, line: string): Promise<void> {
    const parsed = command.safeParse(parseJson(line));
    if (!parsed.success) {
      socket.destroy();
      return;
    }
    const { id: re } = parsed.data;
    try {
      await this.#carryOut(socket, parsed.data);
      socket.write(messageLine({ re, ok: true }));
    } catch (thrown) {
      const { message }: FlashmoeError = asFlashmoeError(thrown);
      socket.write(messageLine({ re, ok: false, message }));
    }
  }

  async #carryOut(socket: Socket, wish: Command): Promise<void> {
    switch (wish.do) {
      case 'subscribe':
        for (const timed of this.#history.events()) socket.write(messageLine(timed));
        socket.write(messageLine({ replayed: true }));
        this.#subscribers.add(socket);
        break;
      case 'pause':
        this.#commands.pause();
        break;
      case 'resume':
        this.#commands.resume();
        break;
      case 'limits':
        // Zod says "or undefined" where the type says "or absent"; JSON knows only the latter.
        await this.#commands.limits(wish.change as LimitChange);
        break;
      case 'stop':
        this.#commands.stop();
    }
  }
}

function messageLine(message: Message): string {
  return `${JSON.stringify(message)}\n`;
}

function parseJson(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
