// The course of the wizard: screens in order, keys in, one outcome at the end. It knows neither
// terminal nor React; a view subscribes to its state and feeds it keys.

import { asFlashmoeError, FlashmoeError } from '../base/errors.js';
import type { Quant, Receipt } from '../installer/events.js';
import { reduce } from './reduce.js';
import type { RunningSetup, SetupChoice, SetupRunner } from './setup-runner.js';
import {
  blocked,
  chosenModel,
  chosenQuant,
  FIRST_STATE,
  QUANTS,
  type Screen,
  type WizardKey,
  type WizardState,
} from './wizard-state.js';

export type WizardOutcome =
  | { kind: 'finished'; receipt: Receipt }
  | { kind: 'quit'; begun: boolean; choice: SetupChoice | null }
  | { kind: 'background'; pid: number; log: string };

export interface WizardOptions {
  runner: SetupRunner;
  /** Given on the command line: that screen is skipped. */
  model: string | null;
  /** Pointed at first among the models. */
  recommended: string | null;
  quant: Quant | null;
  /** Offer the service; null hides the question. */
  service: boolean | null;
  /** Agreed beforehand: nothing is asked. */
  yes: boolean;
  now: () => number;
  /** Aborted by a signal from outside: the same as quitting. */
  signal: AbortSignal;
  /** Ctrl-C as a key. */
  interrupt: () => void;
}

export interface Wizard {
  state: () => WizardState;
  subscribe: (listener: () => void) => () => void;
  key: (key: WizardKey) => void;
  /** Runs it all; rejects with what ended the run. */
  run: () => Promise<WizardOutcome>;
}

/** Views are told at most this often. */
const REDRAW_MS = 250;
const TICK_MS = 1000;

type Move = 'next' | 'back' | 'quit';

export function createWizard(options: WizardOptions): Wizard {
  const { runner, now } = options;
  let state: WizardState = {
    ...FIRST_STATE,
    now: now(),
    // A frame is drawn before the first look-up begins: it must not offer to go on.
    busy: 'starting',
    service: options.service,
    quantIndex: Math.max(0, QUANTS.indexOf(options.quant ?? '4bit')),
  };
  const listeners = new Set<() => void>();
  let pending: NodeJS.Timeout | null = null;
  let onKey: (key: WizardKey) => void = () => undefined;

  const notify = (): void => {
    pending = null;
    state = { ...state, now: now() };
    for (const listener of listeners) listener();
  };
  const set = (change: Partial<WizardState>): void => {
    state = { ...state, ...change };
    pending ??= setTimeout(notify, change.run === undefined ? 0 : REDRAW_MS);
  };

  const choice = (): SetupChoice => ({
    model: options.model ?? chosenModel(state)?.id ?? '',
    quant: chosenQuant(state),
    service: state.service ?? false,
  });

  /** Looks something up, then lets `keys` decide when the screen is left. */
  const show = async (
    screen: Screen,
    busy: string | null,
    load: (signal: AbortSignal) => Promise<Partial<WizardState>>,
    keys: (key: WizardKey) => Move | null,
  ): Promise<Move> => {
    const look = new AbortController();
    let leave: (move: Move) => void = () => undefined;
    const left = new Promise<Move>((resolve) => (leave = resolve));
    const quit = (): void => leave('quit');
    options.signal.addEventListener('abort', quit, { once: true });
    set({ screen, busy, problem: null });
    onKey = (key) => {
      if (key === 'interrupt') options.interrupt();
      const move = key === 'q' ? 'quit' : key === 'escape' ? 'back' : keys(key);
      if (move === 'next' && (state.busy !== null || state.problem !== null || blocked(state)))
        return;
      if (move !== null) leave(move);
    };
    const loading = load(look.signal).then(
      (found) => {
        set({ ...found, busy: null });
        // Agreeing beforehand is agreeing to a named model, never to whichever comes first.
        if (options.yes && screen !== 'model' && !blocked(state)) leave('next');
      },
      (thrown: unknown) => {
        if (look.signal.aborted) return;
        const error = asFlashmoeError(thrown);
        // Without somebody to choose otherwise, a failed look-up is the end.
        if (options.yes) failures.push(error);
        if (options.yes) leave('quit');
        set({ busy: null, problem: { message: error.message, hint: error.hint ?? null } });
      },
    );
    const move = options.signal.aborted ? 'quit' : await left;
    look.abort();
    await loading;
    options.signal.removeEventListener('abort', quit);
    return move;
  };
  const failures: FlashmoeError[] = [];

  const screens: Record<Exclude<Screen, 'run'>, () => Promise<Move>> = {
    machine: () =>
      show(
        'machine',
        'checking this machine',
        async (signal) => ({ findings: await runner.machine(signal) }),
        (key) => (key === 'enter' ? 'next' : null),
      ),
    model: () =>
      show(
        'model',
        'reading the catalogue',
        async (signal) => {
          const models = await runner.models(signal);
          const first = models.findIndex(({ id }) => id === options.recommended);
          return {
            models,
            modelIndex: state.models.length > 0 ? state.modelIndex : Math.max(0, first),
          };
        },
        (key) => {
          const last = state.models.length - 1;
          if (key === 'up') set({ modelIndex: Math.max(0, state.modelIndex - 1) });
          if (key === 'down') set({ modelIndex: Math.min(last, state.modelIndex + 1) });
          return key === 'enter' ? 'next' : null;
        },
      ),
    quant: () =>
      show(
        'quant',
        null,
        () => Promise.resolve({}),
        (key) => {
          if (key === 'up') set({ quantIndex: Math.max(0, state.quantIndex - 1) });
          if (key === 'down')
            set({ quantIndex: Math.min(QUANTS.length - 1, state.quantIndex + 1) });
          return key === 'enter' ? 'next' : null;
        },
      ),
    plan: () =>
      show(
        'plan',
        'reading the headers of all shards',
        async (signal) => ({ plan: await runner.plan(choice(), signal) }),
        (key) => {
          if (key === 'space' && state.service !== null) set({ service: !state.service });
          return key === 'enter' ? 'next' : null;
        },
      ),
  };

  const ask = async (): Promise<boolean> => {
    const order = (['machine', 'model', 'quant', 'plan'] as const).filter(
      (screen) =>
        !(screen === 'model' && options.model !== null) &&
        !(screen === 'quant' && (options.quant !== null || options.yes)),
    );
    let at = 0;
    while (at < order.length) {
      const screen = order[at];
      if (screen === undefined) break;
      const move = await screens[screen]();
      if (move === 'quit') return false;
      at = move === 'next' ? at + 1 : Math.max(0, at - 1);
    }
    return true;
  };

  const provision = async (): Promise<WizardOutcome> => {
    const stop = new AbortController();
    const halt = (leaving: 'quit' | 'background'): void => {
      if (state.leaving !== null) return;
      set({ leaving });
      stop.abort(new FlashmoeError('ERR_INTERRUPTED', 'interrupted'));
    };
    const outside = (): void => halt('quit');
    options.signal.addEventListener('abort', outside, { once: true });
    set({ screen: 'run', busy: null, problem: null });
    const running: RunningSetup = runner.start(choice(), {
      emit: (event) => set({ run: reduce(state.run, event, now()) }),
      signal: stop.signal,
    });
    onKey = (key) => {
      if (key === 'interrupt') options.interrupt();
      if (key === 'q') halt('quit');
      if (key === 'b') halt('background');
      if (key === 'p' && state.leaving === null) {
        set({ paused: !state.paused });
        if (state.paused) running.pause();
        else running.resume();
      }
    };
    if (options.signal.aborted) halt('quit');
    const ticker = setInterval(() => set({}), TICK_MS);
    try {
      return { kind: 'finished', receipt: await running.done };
    } catch (thrown) {
      // A stop that was asked for is an outcome; anything else is a failure, also while stopping.
      if (state.leaving === null || asFlashmoeError(thrown).code !== 'ERR_INTERRUPTED')
        throw thrown;
      if (state.leaving === 'quit') return { kind: 'quit', begun: true, choice: choice() };
      return { kind: 'background', ...(await runner.background(choice())) };
    } finally {
      clearInterval(ticker);
      options.signal.removeEventListener('abort', outside);
    }
  };

  return {
    state: () => state,
    subscribe: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    key: (key) => onKey(key),
    run: async () => {
      try {
        const agreed = await ask();
        const failure = failures[0];
        if (failure !== undefined) throw failure;
        return agreed ? await provision() : { kind: 'quit', begun: false, choice: null };
      } finally {
        if (pending !== null) clearTimeout(pending);
        notify();
      }
    },
  };
}
