// Whether answers come out right: a model whose files are damaged loads, and then fails at every answer. After a
// failure the server asks its engine for a token now and then, so that it notices when the fault is gone.

import type { ApiError } from './api-error.js';
import type { ModelHost } from './model-host.js';
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

  /** Asks for a token, unless answers are right, one is being made, or it was tried just now. Loads nothing. */
  tryAgain(host: ModelHost, queue: Queue, shutdown: AbortSignal): void {
    const isEarly = this.now() - this.#triedAt < PATIENCE;
    if (this.#failure === null || this.#trying || isEarly || queue.length > 0) return;
    if (host.state.status !== 'ready') return;
    this.#trying = true;
    this.#triedAt = this.now();
    void this.#try(host, host.state.id, queue, shutdown).finally(() => (this.#trying = false));
  }

  async #try(
    host: ModelHost,
    id: string | null,
    queue: Queue,
    shutdown: AbortSignal,
  ): Promise<void> {
    const lease = await host.acquire(id, shutdown);
    const turn = queue.enter(shutdown);
    try {
      await turn.begun;
      const asked = { tokens: [0], maxTokens: 1, sampling: { temperature: 0 } };
      for await (const event of lease.engine.continueTokens(asked, shutdown)) {
        if (event.type === 'finish') this.answered();
      }
    } catch {
      // It is as it was.
    } finally {
      turn.end();
      lease.release();
    }
  }
}
