// The one model a server has: loading, ready, or not there. The server answers in all three states.

import { asFlashmoeError, FlashmoeError } from '../base/errors.js';
import type { Engine } from '../engine/types.js';
import { ApiError, toApiError, unavailable } from './api-error.js';

export type ModelState =
  | { status: 'loading' }
  | { status: 'ready'; engine: Engine }
  | { status: 'failed'; error: FlashmoeError };

export class ModelHost {
  #state: ModelState = { status: 'loading' };
  /** Settles when the model is ready or failed; never rejects. */
  readonly settled: Promise<ModelState>;
  readonly #closing = new AbortController();

  /** @param id the configured model's id, known before it is loaded; null when none is */
  constructor(
    readonly id: string | null,
    load: (signal: AbortSignal) => Promise<Engine>,
    /** What loading waits for; null when it goes on. */
    private readonly waiting: () => string | null = () => null,
  ) {
    this.settled = load(this.#closing.signal).then(
      (engine) => (this.#state = { status: 'ready', engine }),
      (error: unknown) => (this.#state = { status: 'failed', error: asFlashmoeError(error) }),
    );
  }

  get state(): ModelState {
    return this.#state;
  }

  /** The engine, or a 503 that says why there is none. */
  engine(): Engine {
    if (this.#state.status === 'ready') return this.#state.engine;
    throw this.#why(this.#state);
  }

  /** Why there is no engine; null when there is one. */
  unavailable(): ApiError | null {
    return this.#state.status === 'ready' ? null : this.#why(this.#state);
  }

  #why(state: Exclude<ModelState, { status: 'ready' }>): ApiError {
    if (state.status === 'loading') {
      const reason = this.waiting();
      const why = reason === null ? '' : `: ${reason}`;
      return unavailable(`the model ${this.id ?? ''} is loading${why}`, 'model_loading');
    }
    const { error } = state;
    const headers = { 'retry-after': '60' };
    return new ApiError(503, toApiError(error).message, { code: error.code, headers });
  }

  /** Closes the engine; one that is still loading is closed when it is there, and not waited for. */
  async close(): Promise<void> {
    this.#closing.abort(new FlashmoeError('ERR_INTERRUPTED', 'the server is stopping'));
    const closed = this.settled.then((state) => {
      return state.status === 'ready' ? state.engine.close() : undefined;
    });
    if (this.#state.status !== 'loading') await closed;
  }
}
