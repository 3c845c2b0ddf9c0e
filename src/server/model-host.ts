// The model that a server has in memory: none yet, loading, ready, or not there. Requests name models; one that is
// installed is loaded in the place of another when the answers of that have ended, in order of arrival. What
// nobody asks for any more is let go after a while.

import { asFlashmoeError, FlashmoeError } from '../base/errors.js';
import type { Engine } from '../engine/types.js';
import { ApiError, toApiError, unavailable } from './api-error.js';

/** `id`: the model that is meant; null where none is set up. */
export type ModelState =
  /** The next request loads it. */
  | { status: 'idle'; id: string | null }
  | { status: 'loading'; id: string | null }
  | { status: 'ready'; id: string | null; engine: Engine }
  | { status: 'failed'; id: string | null; error: FlashmoeError };

/** A model that is ready to be loaded. */
export interface InstalledModel {
  id: string;
  quant: string;
  /** Of all its files. */
  bytes: number;
  /** Milliseconds since the epoch. */
  since: number;
  /** For people, in a line. */
  about?: string;
}

export interface ModelHostOptions {
  /** The model for requests that name none, or one that isn't here; null when none is set up. */
  defaultId: string | null;
  load: (signal: AbortSignal, id: string | null) => Promise<Engine>;
  /** Models that a request may name. */
  installed?: () => Promise<readonly InstalledModel[]>;
  /** What loading waits for; null when it goes on. */
  waiting?: () => string | null;
  /** Milliseconds without a request after which a model is let go; 0: at once, and loaded only when asked for. */
  unloadAfterMs?: number;
  /** Told when somebody asks for a model. */
  onWanted?: () => void;
  /** Told when a model is ready, failed, or was let go. */
  onChange?: (state: ModelState) => void;
  /** Milliseconds since the epoch. */
  now: () => number;
}

/** The model stays while somebody has this. */
export interface Lease {
  readonly engine: Engine;
  /** @param unloadAfterMs instead of the server's own, from now on; calling it again does nothing */
  release(unloadAfterMs?: number | null): void;
}

interface Waiter {
  id: string | null;
  grant: (lease: Lease) => void;
  refuse: (error: unknown) => void;
}

/** Milliseconds after which a model that failed to load is tried again. */
const TRY_AGAIN = 30_000;
/** setTimeout's longest, some 24 days: as good as never. */
const NEVER = 2 ** 31 - 1;

export class ModelHost {
  #state: ModelState;
  /** Settles when the first model is ready or failed, or isn't loaded before it is asked for; never rejects. */
  readonly settled: Promise<ModelState>;
  readonly #closing = new AbortController();
  readonly #waiters: Waiter[] = [];
  #refusing = false;
  /** It goes with its last lease. */
  #isUnwanted = false;
  #leases = 0;
  #unloadAfterMs: number;
  #timer: NodeJS.Timeout | null = null;
  /** When the model goes; null while it is used, or where it stays. */
  #unloadsAt: number | null = null;
  #failedAt = 0;
  /** Of models that were in memory, by id. */
  readonly #contextLengths = new Map<string, number>();
  #unloading: Promise<void> = Promise.resolve();

  constructor(private readonly options: ModelHostOptions) {
    this.#unloadAfterMs = options.unloadAfterMs ?? NEVER;
    this.#state = { status: 'idle', id: options.defaultId };
    this.settled =
      this.#unloadAfterMs === 0 ? Promise.resolve(this.#state) : this.#load(options.defaultId);
  }

  /** The model for requests that name none. */
  get id(): string | null {
    return this.options.defaultId;
  }

  get state(): ModelState {
    return this.#state;
  }

  /** Milliseconds since the epoch; null while the model is used, or where it stays. */
  get unloadsAt(): number | null {
    return this.#unloadsAt;
  }

  /** Tokens that fit, as they did when the model was last in memory; null for one that never was. */
  contextLength(id: string): number | null {
    return this.#contextLengths.get(id) ?? null;
  }

  async installed(): Promise<readonly InstalledModel[]> {
    return (await this.options.installed?.()) ?? [];
  }

  /** The engine that is loaded; a 503 that says why there is none. Loads nothing. */
  engine(): Engine {
    if (this.#state.status === 'ready') return this.#state.engine;
    throw this.#why(this.#state);
  }

  /** Why no answer can be made; null where it can, if only after loading. */
  unavailable(): ApiError | null {
    const isThere = this.#state.status === 'ready' || this.#state.status === 'idle';
    return isThere ? null : this.#why(this.#state);
  }

  /**
   * Waits for the model of that name, and for its turn where another one has to go first. A 503 where it can't be
   * loaded, or where loading waits for something itself.
   */
  async acquire(name: string | null, signal: AbortSignal): Promise<Lease> {
    const id = await this.#idOf(name);
    this.options.onWanted?.();
    if (this.#refusing) throw unavailable('the server is stopping', 'server_stopping');
    const isHeldUp =
      this.#state.status === 'loading' && (this.options.waiting?.() ?? null) !== null;
    if (isHeldUp) throw this.#why(this.#state);
    return await new Promise<Lease>((resolve, reject) => {
      const waiter: Waiter = {
        id,
        grant: (lease) => {
          signal.removeEventListener('abort', onAbort);
          resolve(lease);
        },
        refuse: (error) => {
          signal.removeEventListener('abort', onAbort);
          reject(error instanceof Error ? error : new Error(String(error)));
        },
      };
      const onAbort = (): void => {
        this.#waiters.splice(this.#waiters.indexOf(waiter), 1);
        reject(signal.reason as Error);
        this.#advance();
      };
      if (signal.aborted) return reject(signal.reason as Error);
      signal.addEventListener('abort', onAbort, { once: true });
      this.#waiters.push(waiter);
      this.#advance();
    });
  }

  /** The model as it is in memory, for work of the server's own; null while somebody uses or wants one. */
  borrow(): Lease | null {
    if (this.#state.status !== 'ready' || this.#leases > 0 || this.#waiters.length > 0) return null;
    // What nobody asked for keeps no model in memory that was about to go.
    return this.#isUnwanted ? null : this.#lease(this.#state.engine);
  }

  /** Lets the model go as soon as nobody uses it; the next request loads it again. */
  letGo(): void {
    if (this.#state.status !== 'ready') return;
    if (this.#leases === 0) this.#unload();
    else this.#isUnwanted = true;
  }

  /** Whoever waits for a model, and whoever comes, is refused; answers that have begun go on. */
  refuse(): void {
    this.#refusing = true;
    const error = unavailable('the server is stopping', 'server_stopping');
    for (const waiter of this.#waiters.splice(0)) waiter.refuse(error);
  }

  /** Closes the engine; one that is still loading is closed when it is there, and not waited for. */
  async close(): Promise<void> {
    this.#closing.abort(new FlashmoeError('ERR_INTERRUPTED', 'the server is stopping'));
    this.#disarm();
    this.refuse();
    if (this.#state.status === 'ready') await this.#state.engine.close();
    await this.#unloading;
  }

  /** Only the id of an installed model is another one; any other name means the default. */
  async #idOf(name: string | null): Promise<string | null> {
    const asked = name?.replace(/:latest$/, '').toLowerCase() ?? null;
    if (asked === null || asked === this.id) return this.id;
    if (this.#state.status === 'ready' && this.#state.id === asked) return asked;
    const all = await this.installed();
    return all.find(({ id }) => id.toLowerCase() === asked)?.id ?? this.id;
  }

  #advance(): void {
    for (;;) {
      const first = this.#waiters[0];
      if (first === undefined) return;
      const state = this.#state;
      if (state.status === 'loading') return;
      const isIt = state.id === first.id;
      if (state.status === 'ready' && isIt) {
        this.#waiters.shift();
        first.grant(this.#lease(state.engine));
      } else if (state.status === 'failed' && isIt && !this.#isTimeToTry()) {
        this.#waiters.shift();
        first.refuse(this.#why(state));
      } else {
        if (state.status === 'ready' && this.#leases > 0) return;
        void this.#load(first.id);
        return;
      }
    }
  }

  #isTimeToTry(): boolean {
    return this.options.now() - this.#failedAt >= TRY_AGAIN;
  }

  #lease(engine: Engine): Lease {
    this.#leases++;
    this.#disarm();
    let released = false;
    return {
      engine,
      release: (unloadAfterMs = null) => {
        if (released) return;
        released = true;
        this.#leases--;
        if (unloadAfterMs !== null) this.#unloadAfterMs = unloadAfterMs;
        this.#advance();
        if (this.#isUnwanted && this.#leases === 0) this.#unload();
        this.#arm();
      },
    };
  }

  async #load(id: string | null): Promise<ModelState> {
    this.#unload();
    this.#state = { status: 'loading', id };
    await this.#unloading;
    try {
      const engine = await this.options.load(this.#closing.signal, id);
      this.#state = { status: 'ready', id, engine };
      this.#contextLengths.set(engine.model.id, engine.model.contextLength);
      if (this.#closing.signal.aborted) await engine.close();
    } catch (error) {
      this.#failedAt = this.options.now();
      this.#state = { status: 'failed', id, error: asFlashmoeError(error) };
      const why = this.#why(this.#state);
      const refused = this.#waiters.filter((waiter) => waiter.id === id);
      for (const waiter of refused) {
        this.#waiters.splice(this.#waiters.indexOf(waiter), 1);
        waiter.refuse(why);
      }
    }
    const state = this.#state;
    this.options.onChange?.(state);
    this.#advance();
    this.#arm();
    return state;
  }

  /** Lets the model go, if there is one. */
  #unload(): void {
    const state = this.#state;
    this.#disarm();
    this.#isUnwanted = false;
    if (state.status !== 'ready') return;
    this.#state = { status: 'idle', id: state.id };
    this.#unloading = this.#unloading.then(() => state.engine.close());
    this.options.onChange?.(this.#state);
  }

  #arm(): void {
    this.#disarm();
    if (this.#state.status !== 'ready' || this.#leases > 0 || this.#unloadAfterMs >= NEVER) return;
    this.#unloadsAt = this.options.now() + this.#unloadAfterMs;
    this.#timer = setTimeout(() => this.#unload(), this.#unloadAfterMs);
    this.#timer.unref();
  }

  #disarm(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#unloadsAt = null;
  }

  #why(state: ModelState): ApiError {
    if (state.status === 'failed') {
      const headers = { 'retry-after': '60' };
      const { code } = state.error;
      return new ApiError(503, toApiError(state.error).message, { code, headers });
    }
    const name = state.id ?? '';
    if (state.status === 'idle')
      return unavailable(`the model ${name} is not loaded`, 'model_idle');
    const reason = this.options.waiting?.() ?? null;
    const why = reason === null ? '' : `: ${reason}`;
    return unavailable(`the model ${name} is loading${why}`, 'model_loading');
  }
}
