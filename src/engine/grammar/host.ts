// Token masks from a grammar, computed beside the engine: while it works on one token, the mask for the
// next is made. A worker that failed is replaced with the next grammar.

import { Worker } from 'node:worker_threads';
import { FlashmoeError } from '../../base/errors.js';
import { entryOfBytes } from '../byte-level.js';
import type { Vocabulary } from '../tokenizer-types.js';

interface Reply {
  serial: number;
  mask: Int32Array;
  seconds: number;
}

/** Milliseconds a grammar may take to compile; a large schema needs one or two seconds. */
const PATIENCE = 60_000;

export class GrammarHost {
  #worker: Worker | null = null;
  #serial = 0;

  constructor(
    private readonly tokenizer: Vocabulary,
    private readonly stopIds: ReadonlySet<number>,
    /** Tokens whose text isn't part of an answer; a grammar never allows them. */
    private readonly hidden: ReadonlySet<number>,
  ) {}

  /** ERR_GRAMMAR when the library can't take it. @param tag a structural tag */
  async start(tag: object): Promise<GrammarRun> {
    const run = new GrammarRun((message) => this.#ask(message));
    await run.start(tag);
    return run;
  }

  async close(): Promise<void> {
    const worker = this.#worker;
    this.#worker = null;
    await worker?.terminate();
  }

  #ask(message: object): Promise<Reply> {
    const worker = (this.#worker ??= this.#open());
    const serial = ++this.#serial;
    return new Promise<Reply>((resolve, reject) => {
      const settle = (): void => {
        clearTimeout(timer);
        worker.off('message', onMessage).off('error', onError).off('exit', onExit);
        worker.unref();
      };
      const refuse = (why: string): void => {
        settle();
        if (this.#worker === worker) this.#worker = null;
        void worker.terminate();
        reject(new FlashmoeError('ERR_GRAMMAR', `the grammar cannot be enforced: ${why}`));
      };
      const onMessage = (reply: Reply | { serial: number; error: string }): void => {
        // The answer before may have left a mask behind that nobody waits for.
        if (reply.serial !== serial) return;
        if ('error' in reply) return refuse(reply.error);
        settle();
        resolve(reply);
      };
      const onError = (error: Error): void => refuse(error.message);
      const onExit = (): void => refuse('its thread ended');
      const timer = setTimeout(() => refuse('it takes too long'), PATIENCE);
      worker.ref();
      worker.on('message', onMessage).on('error', onError).on('exit', onExit);
      worker.postMessage({ ...message, serial });
    });
  }

  #open(): Worker {
    const { tokenizer, hidden, stopIds } = this;
    const vocabulary = Array.from({ length: tokenizer.tokenLimit }, (_, id) =>
      hidden.has(id) ? '' : entryOfBytes(tokenizer.bytes(id)),
    );
    // What it writes about a bad grammar is in its own words; the error we raise says what matters.
    return new Worker(new URL('./worker.mjs', import.meta.url), {
      workerData: { vocabulary, stopIds: [...stopIds] },
      stdout: true,
      stderr: true,
    });
  }
}

/** One answer's way through its grammar. */
export class GrammarRun {
  #next: Promise<Reply> | null = null;
  /** Computing masks, compiling apart; and how many there were. */
  seconds = 0;
  masks = 0;
  compileSeconds = 0;

  constructor(private readonly ask: (message: object) => Promise<Reply>) {}

  async start(tag: object): Promise<void> {
    const reply = await this.ask({ type: 'start', tag });
    this.compileSeconds = reply.seconds;
    this.#next = Promise.resolve({ ...reply, seconds: 0 });
  }

  /** Bits of the tokens that may come next. */
  async mask(): Promise<Int32Array | null> {
    const reply = await this.#next;
    if (reply === null) return null;
    this.seconds += reply.seconds;
    this.masks++;
    return reply.mask;
  }

  /** Goes on with `id`; the next mask is computed meanwhile. */
  accept(id: number): void {
    this.#next = this.ask({ type: 'accept', id });
    // Told by mask(), unless nobody asks any more.
    this.#next.catch(() => undefined);
  }
}
