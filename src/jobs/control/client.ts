// A view's side of the socket of a running setup.

import { createConnection, type Socket } from 'node:net';
import { FlashmoeError } from '../../base/errors.js';
import { findOwner, type LockOwner } from '../../base/lock-probe.js';
import type { InstallEvent } from '../events.js';
import { CONTROL_VERSION, EVENT_LIMIT, lineReader, type Wish } from './protocol.js';

export interface JobConnection {
  owner: LockOwner;
  /** First what brings a view up to date, then what happens; resolves where the one ends and the other begins. */
  subscribe(onEvent: (event: InstallEvent, t: number, replayed: boolean) => void): Promise<void>;
  /** Resolves when the owner has done it; throws what the owner has against it, and ERR_OWNER_GONE. */
  ask(wish: Wish): Promise<void>;
  /** The event that ended the run; null when the owner vanished without one. */
  ended: Promise<Extract<InstallEvent, { type: 'finished' | 'failed' }> | null>;
  /** Leaves; the run goes on. */
  close(): void;
}

const KNOWN: Readonly<Record<InstallEvent['type'], true>> = {
  step: true,
  plan: true,
  finding: true,
  build: true,
  shard: true,
  layer: true,
  progress: true,
  disk: true,
  retry: true,
  waiting: true,
  limits: true,
  resumed: true,
  slept: true,
  answer: true,
  notice: true,
  finished: true,
  failed: true,
};

/** null when nobody holds the lock. Throws ERR_LOCKED when its owner takes no commands. */
export async function connectToJob(lockPath: string): Promise<JobConnection | null> {
  const found = await findOwner(lockPath);
  if (found === null) return null;
  const { owner, socket } = found;
  if (owner.control !== CONTROL_VERSION || socket === null) throw cannotTalk(owner);
  return new Connection(owner, socket);
}

type Waiter = { resolve: () => void; reject: (error: Error) => void };

class Connection implements JobConnection {
  readonly owner: LockOwner;
  readonly ended: JobConnection['ended'];
  readonly #socket: Socket;
  readonly #asked = new Map<number, Waiter>();
  #nextId = 0;
  #greeted = false;
  #isLive = false;
  #onEvent: (event: InstallEvent, t: number, replayed: boolean) => void = () => undefined;
  #last: Extract<InstallEvent, { type: 'finished' | 'failed' }> | null = null;

  constructor(owner: LockOwner, path: string) {
    this.owner = owner;
    this.#socket = createConnection(path);
    this.#socket.setEncoding('utf8');
    const read = lineReader(
      EVENT_LIMIT,
      (line) => this.#take(line),
      () => this.#socket.destroy(),
    );
    this.#socket.on('data', read);
    // Whatever broke it, `close` follows, and there the waiting is ended.
    this.#socket.on('error', () => this.#socket.destroy());
    this.ended = new Promise((resolve) => {
      this.#socket.on('close', () => {
        for (const { reject } of this.#asked.values()) reject(gone(owner));
        this.#asked.clear();
        resolve(this.#last);
      });
    });
  }

  async subscribe(
    onEvent: (event: InstallEvent, t: number, replayed: boolean) => void,
  ): Promise<void> {
    this.#onEvent = onEvent;
    await this.ask({ do: 'subscribe' });
  }

  ask(wish: Wish): Promise<void> {
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      if (this.#socket.destroyed) {
        reject(gone(this.owner));
        return;
      }
      this.#asked.set(id, { resolve, reject });
      this.#socket.write(`${JSON.stringify({ id, ...wish })}\n`);
    });
  }

  close(): void {
    this.#socket.destroy();
  }

  #take(line: string): void {
    if (!this.#greeted) {
      this.#greeted = true;
      return;
    }
    const message = parseMessage(line);
    if (message === null) return;
    if ('replayed' in message) this.#isLive = true;
    else if ('event' in message) this.#told(message.event, Number(message.t));
    else this.#answered(Number(message.re), message.ok === true, String(message.message));
  }

  #told(value: unknown, t: number): void {
    const event = value as InstallEvent | null;
    // A newer owner may know more kinds; a view that doesn't can only leave them out.
    if (event === null || !Object.hasOwn(KNOWN, event.type)) return;
    if (event.type === 'finished' || event.type === 'failed') this.#last = event;
    this.#onEvent(event, t, !this.#isLive);
  }

  #answered(re: number, ok: boolean, why: string): void {
    const waiter = this.#asked.get(re);
    this.#asked.delete(re);
    if (ok) waiter?.resolve();
    else waiter?.reject(new FlashmoeError('ERR_LOCKED', why));
  }
}

function parseMessage(line: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' ? (value as Record<string, unknown> | null) : null;
  } catch {
    return null;
  }
}

function gone({ pid }: LockOwner): FlashmoeError {
  return new FlashmoeError(
    'ERR_OWNER_GONE',
    `process ${pid ?? 'of the setup'} ended without a word; what it had finished is kept`,
    { hint: 'run `flashmoe setup` again, it goes on from there' },
  );
}

function cannotTalk({ pid }: LockOwner): FlashmoeError {
  const who = pid === null ? 'another flashmoe' : `another flashmoe (pid ${pid})`;
  return new FlashmoeError('ERR_LOCKED', `${who} is at work here and takes no commands`, {
    hint: pid === null ? 'wait for it to finish' : `wait for it, or stop it with: kill ${pid}`,
  });
}
