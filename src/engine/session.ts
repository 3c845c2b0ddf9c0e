// One native session and the tokens in its state. A recurrent state can't be rolled back, so a prompt
// either goes on from exactly what is there, or starts from nothing.

import { runJob } from '../addon/load.js';
import type { NativeSession, SamplingParams, StepStats } from '../addon/types.js';
import type { Timings } from './types.js';

export type PrefillEvent =
  | { type: 'prefill'; done: number; total: number }
  /** The last one. Of the prompt's tokens, so many were in the state already. */
  | { type: 'prefilled'; cachedTokens: number };

export class Session {
  /** Tokens in the native state; null when a step failed in between and nobody knows. */
  #tokens: number[] | null = [];

  /** The state at the end of a prompt that is asked again. */
  #kept: { tokens: number[]; native: NativeSession } | null = null;

  constructor(private native: NativeSession) {}

  /** Makes the state that of `prompt`, adding to `timings`. Leaving it early cancels the work and waits for that. */
  async *prefill(
    prompt: readonly number[],
    timings: Timings,
    signal: AbortSignal,
  ): AsyncGenerator<PrefillEvent, void> {
    this.#takeUp(prompt);
    const cachedTokens = this.#isBeginningOf(prompt) ? (this.#tokens?.length ?? 0) : 0;
    if (cachedTokens === 0) this.#reset();
    if (cachedTokens < prompt.length) {
      const total = prompt.length;
      yield { type: 'prefill', done: cachedTokens, total };
      this.#tokens = null;
      const rest = Int32Array.from(prompt.slice(cachedTokens));
      for await (const step of this.#prefill(rest, signal)) {
        if (typeof step === 'number') yield { type: 'prefill', done: cachedTokens + step, total };
        else {
          timings.prefillSeconds += step.seconds;
          timings.expertBytesRead += step.expertBytesRead;
        }
      }
      this.#tokens = [...prompt];
    }
    yield { type: 'prefilled', cachedTokens };
  }

  /**
   * Appends one token, adding to `timings`. Takes no signal: a token is short, and a whole state is worth
   * keeping.
   */
  async decode(token: number, timings: Timings): Promise<void> {
    const tokens = this.#tokens;
    this.#tokens = null;
    const stats = await runJob(this.native.decode(token));
    tokens?.push(token);
    this.#tokens = tokens;
    timings.decodeSeconds += stats.seconds;
    timings.expertBytesRead += stats.expertBytesRead;
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

  /** Keeps a copy of the state that a later prefill of exactly these tokens takes up again. */
  keep(): void {
    this.forget();
    if (this.#tokens === null) return;
    this.#kept = { tokens: [...this.#tokens], native: this.native.fork() };
  }

  /** Lets go of the kept copy. */
  forget(): void {
    this.#kept?.native.close();
    this.#kept = null;
  }

  close(): void {
    this.forget();
    this.native.close();
  }

  /** Makes the kept copy the state, if it is that of `prompt`. */
  #takeUp(prompt: readonly number[]): void {
    const kept = this.#kept;
    if (kept === null) return;
    if (isSame(kept.tokens, prompt) && !isSame(this.#tokens ?? [], prompt)) {
      this.native.close();
      this.native = kept.native;
      this.#tokens = kept.tokens;
      this.#kept = null;
    } else {
      this.forget();
    }
  }

  #reset(): void {
    if (this.#tokens?.length === 0) return;
    this.native.reset();
    this.#tokens = [];
  }

  #isBeginningOf(prompt: readonly number[]): boolean {
    return this.#tokens !== null && this.#tokens.every((token, i) => prompt[i] === token);
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
    const job = runJob(
      this.native.prefill(tokens, onProgress),
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

function isSame(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((token, i) => token === b[i]);
}
