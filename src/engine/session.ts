// One native session and the tokens in its state. A prompt goes on from the longest beginning that is there:
// in the state itself, at a mark that the state can be taken back to, or in a file of the store.

import { runJob } from '../addon/load.js';
import type { NativeSession, SamplingParams, StepStats } from '../addon/types.js';
import type { SavedState, StateStore } from './state-store.js';
import type { Timings } from './types.js';

export type PrefillEvent =
  | { type: 'prefill'; done: number; total: number }
  /** The last one. Of the prompt's tokens, so many were in the state already. */
  | { type: 'prefilled'; cachedTokens: number };

/** Lengths of a prompt that others are likely to begin with, when all from `cached` on is to be read. */
export type MarksOf = (cached: number) => readonly number[];

/** Reading fewer tokens again is not worth a file. */
const WORTH_A_FILE = 256;

export class Session {
  /** Of the native state, whether or not it is usable: the native session knows how far back it must go. */
  #tokens: number[] = [];
  /** After `#tokens`. */
  #hasLogits = false;
  /** Length of the mark that has logits. */
  #kept = 0;
  /** Lengths that this prompt asked to be marked at, in order of worth. */
  #marks: readonly number[] = [];
  /** Lengths of the prompt's beginnings that the store has. */
  #saved: readonly number[] = [];
  #saving: Promise<void> | null = null;

  constructor(
    private readonly native: NativeSession,
    private readonly store: StateStore | null = null,
  ) {}

  /** Makes the state that of `prompt`, adding to `timings`. Leaving it early cancels the work and waits for that. */
  async *prefill(
    prompt: readonly number[],
    marksOf: MarksOf,
    timings: Timings,
    signal: AbortSignal,
  ): AsyncGenerator<PrefillEvent, void> {
    const cachedTokens = await this.#takeUp(prompt);
    if (cachedTokens < prompt.length) {
      const total = prompt.length;
      yield { type: 'prefill', done: cachedTokens, total };
      this.#marks = marksOf(cachedTokens);
      const rest = Int32Array.from(prompt.slice(cachedTokens));
      try {
        for await (const step of this.#prefill(rest, signal)) {
          if (typeof step === 'number') yield { type: 'prefill', done: cachedTokens + step, total };
          else {
            timings.prefillSeconds += step.seconds;
            addWork(timings, step);
            this.#hasLogits = true;
          }
        }
      } finally {
        // Whole chunks of a prefill that was cancelled or failed are kept.
        this.#tokens = prompt.slice(0, this.native.length());
      }
    }
    yield { type: 'prefilled', cachedTokens };
  }

  /**
   * Appends one token, adding to `timings`. Takes no signal: a token is short, and a whole state is worth
   * keeping.
   */
  async decode(token: number, timings: Timings): Promise<void> {
    this.#hasLogits = false;
    const stats = await runJob(this.native.decode(token));
    this.#hasLogits = true;
    this.#tokens.push(token);
    timings.decodeSeconds += stats.seconds;
    addWork(timings, stats);
  }

  seed(seed: number): void {
    this.native.seed(seed);
  }

  sample(params: SamplingParams): number {
    return this.native.sample(params);
  }

  /** Logits after the state's last token [vocabSize]. */
  logits(): Float32Array {
    return this.native.logits();
  }

  /** Makes the present state one that a later prefill of exactly these tokens takes up again. */
  keep(): void {
    this.native.mark();
    this.#kept = this.#tokens.length;
  }

  /** Writes the mark that is worth it most to the store, beside whatever the session does next. */
  persist(): void {
    const { store } = this;
    if (store === null || this.#saving !== null) return;
    const length = this.#marks.find((mark) => this.#isWorthSaving(mark));
    if (length === undefined) return;
    const tokens = Int32Array.from(this.#tokens.slice(0, length));
    this.#saved = [...this.#saved, length];
    const native = this.native;
    const save = (path: string) => native.save(tokens, store.program, path);
    this.#saving = store.add(tokens, save).finally(() => (this.#saving = null));
  }

  /** Waits for what is being saved. */
  async close(): Promise<void> {
    await this.#saving;
    this.native.close();
  }

  /** Each file is a whole state, so that a conversation that grows is not written anew with every turn. */
  #isWorthSaving(mark: number): boolean {
    if (mark > this.#tokens.length || this.native.reachable(mark) !== mark) return false;
    const before = Math.max(0, ...this.#saved.filter((length) => length <= mark));
    return mark - before >= Math.max(WORTH_A_FILE, mark / 4);
  }

  /** Goes back, or to a file, for the longest beginning of `prompt`; returns its length. */
  async #takeUp(prompt: readonly number[]): Promise<number> {
    const files = (await this.store?.find(prompt)) ?? [];
    this.#saved = files.map((file) => file.length);
    let length = this.#reach(prompt);
    for (const file of files.reverse()) {
      if (file.length <= length) break;
      await this.#saving;
      if (await this.#restore(prompt, file)) return file.length;
      this.#saved = this.#saved.filter((saved) => saved !== file.length);
      length = this.#reach(prompt);
    }
    if (length < this.#tokens.length) await this.#saving;
    this.native.rewind(length);
    if (length !== this.#tokens.length) this.#hasLogits = length > 0 && length === this.#kept;
    if (length < this.#kept) this.#kept = 0;
    this.#tokens.length = length;
    return length;
  }

  /** How much of `prompt` the state has or can be taken back to, leaving something to read where there are no logits. */
  #reach(prompt: readonly number[]): number {
    const other = this.#tokens.findIndex((token, i) => prompt[i] !== token);
    const shared = other < 0 ? this.#tokens.length : other;
    const length = this.native.reachable(shared);
    if (length < prompt.length) return length;
    const hasLogits = length === this.#tokens.length ? this.#hasLogits : length === this.#kept;
    return hasLogits ? length : this.native.reachable(length - 1);
  }

  async #restore(prompt: readonly number[], file: SavedState): Promise<boolean> {
    const tokens = prompt.slice(0, file.length);
    const job = this.native.restore(Int32Array.from(tokens), this.store?.program ?? '', file.path);
    try {
      await runJob(job);
    } catch (thrown) {
      await this.store?.refuse(file, thrown);
      this.#tokens.length = this.native.length();
      if (this.#tokens.length < this.#kept) this.#kept = 0;
      return false;
    }
    await this.store?.use(file);
    this.#tokens = tokens;
    this.#hasLogits = false;
    this.#kept = 0;
    return true;
  }

  /** Tokens done while the job runs, the latest when several numbers came; then its result. */
  async *#prefill(
    tokens: Int32Array,
    signal: AbortSignal,
  ): AsyncGenerator<number | StepStats, void> {
    const left = new AbortController();
    let latest: number | null = null;
    let running = true;
    let wake = (): void => undefined;
    const onProgress = (done: number): void => {
      latest = done;
      wake();
    };
    this.#hasLogits = false;
    const job = runJob(
      this.native.prefill(tokens, onProgress, Uint32Array.from(this.#marks)),
      AbortSignal.any([signal, left.signal]),
    ).finally(() => {
      running = false;
      wake();
    });
    const settled = job.then(
      () => undefined,
      () => undefined,
    );
    try {
      while (running) {
        await new Promise<void>((resolve) => {
          wake = resolve;
          if (latest !== null || !running) resolve();
        });
        const done = latest;
        latest = null;
        if (done !== null) yield done;
      }
      yield await job;
    } finally {
      left.abort();
      await settled;
    }
  }
}

function addWork(timings: Timings, step: StepStats): void {
  timings.expertBytesRead += step.expertBytesRead;
  if (step.deviceWaits === 0) return;
  timings.device ??= { waits: 0, waitSeconds: 0 };
  timings.device.waits += step.deviceWaits;
  timings.device.waitSeconds += step.deviceWaitSeconds;
}
