// Whether answers come out right: a model whose files are damaged loads, and then fails at every answer. After a
// failure the server asks its engine for a token now and then, so that it notices when the fault is gone.

import type { Engine } from '../engine/types.js';
import type { ApiError } from './api-error.js';
import type { Queue } from './queue.js';

/** Milliseconds between two tries. */
const PATIENCE = 5_000;

export class Soundness {
  #failure: ApiError | null = null;
  #triedAt = 0;
  #trying = false;

  constructor(private readonly now: () => number) {}

  /** Why the last answer failed, if that was the engine's fault. */
  get failure(): ApiError | null {
    return this.#failure;
  }

  failed(error: ApiError): void {
    if (error.status !== 500) return;
    this.#failure = error;
    this.#triedAt = this.now();
  }

  answered(): void {
    this.#failure = null;
  }

  /** Asks for a token, unless answers are right, one is being made, or it was tried just now. */
  tryAgain(engine: Engine, queue: Queue, shutdown: AbortSignal): void {
    const isEarly = this.now() - this.#triedAt < PATIENCE;
    if (this.#failure === null || this.#trying || isEarly || queue.length > 0) return;
    this.#trying = true;
    this.#triedAt = this.now();
    void this.#try(engine, queue, shutdown).finally(() => (this.#trying = false));
  }

  async #try(engine: Engine, queue: Queue, shutdown: AbortSignal): Promise<void> {
    const turn = queue.enter(shutdown);
    try {
      await turn.begun;
      const asked = { tokens: [0], maxTokens: 1, sampling: { temperature: 0 } };
      for await (const event of engine.continueTokens(asked, shutdown)) {
        if (event.type === 'finish') this.answered();
      }
    } catch {
      // It is as it was.
    } finally {
      turn.end();
    }
  }
}
