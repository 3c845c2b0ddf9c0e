// Token masks from a grammar, computed beside the engine: while it works on one token, the mask for the next is
// made. Each constrained answer has a thread of its own, so that one whose grammar takes too long, or whose client
// has left, is ended without harm to the others. One thread waits warm for the next answer.

import { FlashmoeError } from '../../base/errors.js';
import type { Vocabulary } from '../tokenizer-types.js';
import type { Said } from './said.js';
import type { Held } from './tags.js';
import { GrammarThread, type Reply } from './thread.js';
import { shareVocabulary, type SharedVocabulary } from './vocabulary.js';

/** Threads at once, the spare one among them; answers beyond that wait for one. What each takes: docs/api.md. */
const MOST_THREADS = 4;

export class GrammarHost {
  readonly #idle: GrammarThread[] = [];
  readonly #waiting: (() => void)[] = [];
  #threads = 0;
  #closed = false;
  #vocabulary: SharedVocabulary | null = null;

  constructor(
    private readonly tokenizer: Pick<Vocabulary, 'bytes' | 'tokenLimit'>,
    private readonly stopIds: ReadonlySet<number>,
    /** Tokens whose text isn't part of an answer; a grammar never allows them. */
    private readonly hidden: ReadonlySet<number>,
    /** Text of the chat template: the form of calls follows from it. */
    private readonly template: string | null = null,
  ) {}

  /** As start(), of the grammar that a request asks for; the thread makes that, too. */
  startFor(held: Held, afterThinking: boolean, signal: AbortSignal): Promise<GrammarRun> {
    const { format, tools, toolChoice, parallelToolCalls } = held;
    // Copied to the thread: nothing of a request but what a grammar is made of.
    const asked = {
      tools: tools.map(({ name, parameters, strict }) => ({ name, parameters, strict })),
      ...{ format, toolChoice, parallelToolCalls },
    };
    return this.#start({ type: 'start', held: asked, afterThinking }, signal);
  }

  /**
   * ERR_GRAMMAR when the library can't take it, or not in time; ERR_INTERRUPTED when the signal fires.
   * @param tag a structural tag
   */
  start(tag: object, signal: AbortSignal): Promise<GrammarRun> {
    return this.#start({ type: 'start', tag }, signal);
  }

  async #start(message: object, signal: AbortSignal): Promise<GrammarRun> {
    const thread = await this.#take(signal);
    const onAbort = (): void => void thread.end();
    signal.addEventListener('abort', onAbort, { once: true });
    const run = new GrammarRun(thread, message, () => {
      signal.removeEventListener('abort', onAbort);
      this.#giveBack(thread);
    });
    try {
      await run.start();
      return run;
    } catch (error) {
      run.release();
      throw signal.aborted ? interrupted() : error;
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const wake of this.#waiting.splice(0)) wake();
    await Promise.all(this.#idle.splice(0).map((thread) => thread.end()));
  }

  async #take(signal: AbortSignal): Promise<GrammarThread> {
    for (;;) {
      if (signal.aborted || this.#closed) throw interrupted();
      const idle = this.#idle.pop();
      if (idle !== undefined && !idle.ended) return idle;
      if (idle !== undefined) this.#threads--;
      else if (this.#threads < MOST_THREADS) return this.#open();
      else await this.#oneIsFree(signal);
    }
  }

  #oneIsFree(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        signal.removeEventListener('abort', wake);
        const at = this.#waiting.indexOf(wake);
        if (at >= 0) this.#waiting.splice(at, 1);
        resolve();
      };
      this.#waiting.push(wake);
      signal.addEventListener('abort', wake, { once: true });
    });
  }

  #open(): GrammarThread {
    this.#threads++;
    this.#vocabulary ??= shareVocabulary(this.tokenizer, this.hidden);
    const { template } = this;
    return new GrammarThread({
      vocabulary: this.#vocabulary,
      stopIds: [...this.stopIds],
      template,
    });
  }

  /** A sound thread is the next answer's; in the place of one that was ended, another is made ready. */
  #giveBack(thread: GrammarThread): void {
    const isSpare = this.#idle.length === 0 && this.#waiting.length === 0;
    if (!thread.ended && (this.#idle.length === 0 || this.#waiting.length > 0)) {
      if (this.#closed) void thread.end();
      else this.#idle.push(thread);
    } else {
      void thread.end();
      this.#threads--;
      if (isSpare && !this.#closed) this.#idle.push(this.#open());
    }
    this.#waiting.shift()?.();
  }
}

/** One answer's way through its grammar. */
export class GrammarRun {
  #next: Promise<Reply> | null = null;
  #isFresh = true;
  #released = false;
  /** Computing masks, compiling apart; and how many there were. */
  seconds = 0;
  masks = 0;
  compileSeconds = 0;

  constructor(
    private readonly thread: GrammarThread,
    private readonly first: object,
    private readonly giveBack: () => void,
  ) {}

  async start(): Promise<void> {
    const reply = await this.thread.ask(this.first);
    this.compileSeconds = reply.seconds;
    this.#next = Promise.resolve({ ...reply, seconds: 0 });
  }

  /** The same grammar from its beginning, for the next answer to the same request. */
  begin(): void {
    if (!this.#isFresh) this.#ask({ type: 'again' });
    this.#isFresh = false;
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
    this.#ask({ type: 'accept', id });
  }

  /** ERR_ANSWER for an answer that is complete and isn't what was asked for. */
  async check({ content, calls }: Said): Promise<void> {
    const { fault = null } = await this.thread.ask({ type: 'check', said: { content, calls } });
    if (fault !== null) throw new FlashmoeError('ERR_ANSWER', fault);
  }

  /** Lets go of the thread; calling it again does nothing. */
  release(): void {
    if (this.#released) return;
    this.#released = true;
    this.giveBack();
  }

  #ask(message: object): void {
    this.#next = this.thread.ask(message);
    // Told by mask(), unless nobody asks any more.
    this.#next.catch(() => undefined);
  }
}

function interrupted(): FlashmoeError {
  return new FlashmoeError(
    'ERR_INTERRUPTED',
    'the request was given up before its grammar was ready',
  );
}
