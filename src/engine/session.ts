// One native session and the tokens in its state. A prompt goes on from the longest beginning that is there:
// in the state itself, at a mark that the state can be taken back to, or in files of the store.

import { runJob } from '../addon/load.js';
import type { NativeSession, SamplingParams, StepStats } from '../addon/types.js';
import { checkpoints } from './checkpoints.js';
import { agreement, type SavedState, type StateStore } from './state-store.js';
import type { Timings } from './types.js';

export type PrefillEvent =
  | { type: 'prefill'; done: number; total: number }
  /** The last one. Of the prompt's tokens, so many were in the state already. */
  | { type: 'prefilled'; cachedTokens: number };

/** Lengths of a prompt that others are likely to begin with, when all from `cached` on is to be read. */
export type MarksOf = (cached: number) => Promise<readonly number[]>;

/** Reading fewer tokens again is not worth a file, nor a mark behind an answer. */
const WORTH_A_FILE = 256;
const WORTH_A_MARK = 32;

export class Session {
  /** Of the native state, whether or not it is usable: the native session knows how far back it must go. */
  #tokens: number[] = [];
  /** After `#tokens`. */
  #hasLogits = false;
  /** Length of the mark that has logits. */
  #kept = 0;
  /** Lengths at which the state was marked and may still be; ascending. */
  #marks: number[] = [];
  #saving: Promise<void> | null = null;
  /** There is more to save than what is being saved. */
  #unsaved = false;
  /** A job of the native session runs. */
  #working = false;

  /** @param fixedBytes of the state, what doesn't grow with its tokens */
  constructor(
    private readonly native: NativeSession,
    private readonly fixedBytes: number,
    private readonly store: StateStore | null = null,
  ) {}

  /** Tokens of the prompt's beginning that were the last to be in the state. */
  shares(prompt: readonly number[]): number {
    return agreement(this.#tokens, prompt);
  }

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
      const turns = await marksOf(cachedTokens);
      const marks = checkpoints(total, cachedTokens, turns, this.fixedBytes);
      const rest = Int32Array.from(prompt.slice(cachedTokens));
      try {
        for await (const step of this.#prefill(rest, marks, signal)) {
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
        this.#noteMarks(marks);
        this.persist();
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
    this.#working = true;
    const stats = await runJob(this.native.decode(token)).finally(() => (this.#working = false));
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
    this.#noteMarks([this.#kept]);
  }

  /** An answer is complete: what it adds is marked, where that is worth it, and saved. */
  finish(): void {
    const { length } = this.#tokens;
    const isNew = length - (this.#marks.at(-1) ?? 0) >= WORTH_A_MARK;
    if (this.fixedBytes > 0 && this.#hasLogits && isNew) this.keep();
    this.persist();
  }

  /** Writes what the store lacks of the state, beside whatever the session does next. */
  persist(): void {
    const { store } = this;
    if (store === null) return;
    this.#unsaved = this.#saving !== null;
    if (this.#unsaved) return;
    this.#marks = this.#marks.filter((mark) => this.native.reachable(mark) === mark);
    const length = this.fixedBytes > 0 ? (this.#marks.at(-1) ?? 0) : this.#tokens.length;
    if (length < WORTH_A_FILE) return;
    const tokens = Int32Array.from(this.#tokens.slice(0, length));
    const native = this.native;
    this.#saving = store
      .add(tokens, this.#marks, (parts) => native.save(tokens, store.program, parts))
      .finally(() => {
        this.#saving = null;
        if (this.#unsaved && !this.#working) this.persist();
      });
  }

  /** Waits for what is being saved. */
  async close(): Promise<void> {
    while (this.#saving !== null) await this.#saving;
    this.native.close();
  }

  #noteMarks(lengths: readonly number[]): void {
    const all = new Set([...this.#marks, ...lengths.filter((at) => at <= this.#tokens.length)]);
    this.#marks = [...all].sort((a, b) => a - b);
  }

  /** Goes back, or to files, for the longest beginning of `prompt`; returns its length. */
  async #takeUp(prompt: readonly number[]): Promise<number> {
    const wanted = Int32Array.from(prompt);
    for (;;) {
      const length = this.#reach(prompt);
      const shared = agreement(this.#tokens, prompt);
      const found = (await this.store?.find(wanted, shared)) ?? null;
      if (found === null || found.length <= length) return this.#goBack(length);
      await this.#saved();
      if (await this.#restore(prompt, found)) return found.length;
    }
  }

  async #goBack(length: number): Promise<number> {
    if (length < this.#tokens.length) await this.#saved();
    this.native.rewind(length);
    if (length !== this.#tokens.length) this.#hasLogits = length > 0 && length === this.#kept;
    if (length < this.#kept) this.#kept = 0;
    this.#setTokens(this.#tokens.slice(0, length));
    return length;
  }

  /** Nothing reads the state any more. */
  async #saved(): Promise<void> {
    while (this.#saving !== null) await this.#saving;
  }

  #setTokens(tokens: number[]): void {
    this.#tokens = tokens;
    this.#marks = this.#marks.filter((mark) => mark <= tokens.length);
  }

  /** How much of `prompt` the state has or can be taken back to, leaving something to read where there are no logits. */
  #reach(prompt: readonly number[]): number {
    const length = this.native.reachable(agreement(this.#tokens, prompt));
    if (length < prompt.length) return length;
    const hasLogits = length === this.#tokens.length ? this.#hasLogits : length === this.#kept;
    return hasLogits ? length : this.native.reachable(length - 1);
  }

  async #restore(prompt: readonly number[], found: SavedState): Promise<boolean> {
    const tokens = prompt.slice(0, found.length);
    const { store } = this;
    this.#working = true;
    try {
      const program = store?.program ?? '';
      await runJob(this.native.restore(Int32Array.from(tokens), program, found.parts));
    } catch (thrown) {
      await store?.refuse(found, thrown);
      // As it was, or empty.
      this.#setTokens(this.#tokens.slice(0, this.native.length()));
      if (this.#tokens.length < this.#kept) this.#kept = 0;
      return false;
    } finally {
      this.#working = false;
    }
    await store?.use(found);
    this.#marks = this.#marks.filter((mark) => mark <= agreement(this.#tokens, tokens));
    this.#tokens = tokens;
    this.#noteMarks([tokens.length]);
    this.#hasLogits = false;
    this.#kept = 0;
    return true;
  }

  /** Tokens done while the job runs, the latest when several numbers came; then its result. */
  async *#prefill(
    tokens: Int32Array,
    marks: readonly number[],
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
    this.#working = true;
    const job = runJob(
      this.native.prefill(tokens, onProgress, Uint32Array.from(marks)),
      AbortSignal.any([signal, left.signal]),
    ).finally(() => {
      running = false;
      this.#working = false;
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
  timings.experts ??= { uses: 0, hits: 0, waits: 0, bytes: 0 };
  timings.experts.uses += step.expertUses;
  timings.experts.hits += step.expertHits;
  timings.experts.waits += step.expertWaits;
  timings.experts.bytes += step.expertBytesUsed;
  if (step.deviceWaits === 0) return;
  timings.device ??= { waits: 0, waitSeconds: 0 };
  timings.device.waits += step.deviceWaits;
  timings.device.waitSeconds += step.deviceWaitSeconds;
}
