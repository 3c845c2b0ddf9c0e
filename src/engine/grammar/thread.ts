// One thread with the grammar library, asked one thing after the other, each with a limit on its time.

import { startFile } from '../../base/package-root.js';
import { Worker } from 'node:worker_threads';
import { FlashmoeError } from '../../base/errors.js';
import { computedMs, Patience } from './patience.js';
import type { SharedVocabulary } from './vocabulary.js';

export interface Reply {
  serial: number;
  /** Of no length where none was asked for. */
  mask: Int32Array;
  seconds: number;
  /** Of a finished answer, where that was asked. */
  fault?: string | null;
}

type Message =
  | Reply
  | { serial: number; error: string }
  /** The grammar cannot be made; the thread is as sound as before. */
  | { serial: number; refusal: { message: string; subject: string | undefined } }
  | { ready: true; thread: number | null };

/**
 * Milliseconds of computing for compiling a grammar, making a mask or checking an answer: far more than any that can be used
 * needs. Where the system does not tell what a thread computes, they are on the wall.
 */
export const GRAMMAR_PATIENCE = 5_000;
/** Milliseconds on the wall, however little the thread was let compute. */
const LONGEST_WAIT = 30_000;
/** Milliseconds until the library is loaded and has its vocabulary; machines are slow while a model loads. */
const START_PATIENCE = 60_000;

interface Asked {
  serial: number;
  message: object;
  resolve: (reply: Reply) => void;
  reject: (error: FlashmoeError) => void;
}

export class GrammarThread {
  readonly #worker: Worker;
  readonly #asked: Asked[] = [];
  #serial = 0;
  #ready = false;
  #thread: number | null = null;
  #timer: NodeJS.Timeout | null = null;
  #ended: string | null = null;

  constructor(data: { vocabulary: SharedVocabulary; stopIds: number[]; template: string | null }) {
    // What it writes about a bad grammar is in its own words; the error we raise says what matters.
    this.#worker = new Worker(startFile('engine/grammar/worker.mjs'), {
      workerData: data,
      stdout: true,
      stderr: true,
    });
    this.#worker.unref();
    this.#worker
      .on('message', (message: Message) => this.#told(message))
      .on('error', (error: Error) => this.#fail(error.message))
      .on('exit', () => this.#fail('its thread ended'));
  }

  get ended(): boolean {
    return this.#ended !== null;
  }

  /** ERR_GRAMMAR for what the library can't take and for what takes too long; then the thread is over. */
  ask(message: object): Promise<Reply> {
    if (this.#ended !== null) return Promise.reject(refusal(this.#ended));
    return new Promise((resolve, reject) => {
      this.#asked.push({ serial: ++this.#serial, message, resolve, reject });
      this.#worker.ref();
      if (this.#asked.length === 1) this.#post();
    });
  }

  end(): Promise<void> {
    this.#fail('it was given up');
    return this.#worker.terminate().then(() => undefined);
  }

  #post(): void {
    const [first] = this.#asked;
    if (first === undefined) {
      this.#worker.unref();
      return;
    }
    if (!this.#ready) {
      this.#timer = setTimeout(() => this.#fail('its thread does not start'), START_PATIENCE);
      return;
    }
    const computed = (): number | null => computedMs(this.#thread);
    this.#wait(new Patience(GRAMMAR_PATIENCE, LONGEST_WAIT, computed), 0);
    this.#worker.postMessage({ ...first.message, serial: first.serial });
  }

  #wait(patience: Patience, waitedMs: number): void {
    const next = patience.next(waitedMs);
    if (next === 0) this.#fail(`it takes over ${GRAMMAR_PATIENCE / 1000} s`);
    else this.#timer = setTimeout(() => this.#wait(patience, next), next);
  }

  #told(message: Message): void {
    if ('ready' in message) {
      this.#ready = true;
      this.#thread = message.thread;
      this.#clear();
      this.#post();
      return;
    }
    const [first] = this.#asked;
    if (first === undefined || message.serial !== first.serial) return;
    if ('error' in message) return this.#fail(message.error);
    this.#clear();
    this.#asked.shift();
    if ('refusal' in message) {
      const { message: text, subject } = message.refusal;
      first.reject(
        new FlashmoeError('ERR_GRAMMAR', text, subject === undefined ? {} : { subject }),
      );
    } else first.resolve(message);
    this.#post();
  }

  #clear(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  #fail(why: string): void {
    if (this.#ended !== null) return;
    this.#ended = why;
    this.#clear();
    void this.#worker.terminate();
    for (const { reject } of this.#asked.splice(0)) reject(refusal(why));
  }
}

function refusal(why: string): FlashmoeError {
  return new FlashmoeError('ERR_GRAMMAR', `the grammar cannot be enforced: ${why}`);
}
