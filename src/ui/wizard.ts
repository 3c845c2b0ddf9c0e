// The course of the wizard: questions, the run, one outcome at the end. It knows neither terminal nor
// React; a view subscribes to its state and feeds it keys.

import { asFlashmoeError, FlashmoeError } from '../base/errors.js';
import type { Quant, Receipt } from '../installer/events.js';
import { reduce } from './reduce.js';
import type { SetupChoice, SetupRunner } from './setup-runner.js';
import { askQuestions, currentChoice } from './wizard-questions.js';
import { FIRST_STATE, QUANTS, type WizardKey, type WizardState } from './wizard-state.js';
import { createStore, type WizardStore } from './wizard-store.js';

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

/** The clock on screen, and the seconds of a stall. */
const TICK_MS = 1000;

export function createWizard(options: WizardOptions): Wizard {
  const store = createStore(
    {
      ...FIRST_STATE,
      now: options.now(),
      // A frame is drawn before the first look-up begins: it must not offer to go on.
      busy: 'starting',
      service: options.service,
      quantIndex: Math.max(0, QUANTS.indexOf(options.quant ?? '4bit')),
    },
    options.now,
  );
  return {
    state: store.published,
    subscribe: store.subscribe,
    key: store.key,
    run: async () => {
      try {
        const agreed = await askQuestions(store, options);
        if (!agreed) return { kind: 'quit', begun: false, choice: null };
        return await provision(store, options);
      } finally {
        store.flush();
      }
    },
  };
}

async function provision(store: WizardStore, options: WizardOptions): Promise<WizardOutcome> {
  const { runner, now, signal } = options;
  const choice = currentChoice(store, options);
  const stop = new AbortController();
  const halt = (leaving: 'quit' | 'background'): void => {
    if (store.get().leaving !== null) return;
    store.set({ leaving });
    stop.abort(new FlashmoeError('ERR_INTERRUPTED', 'interrupted'));
  };
  const quit = (): void => halt('quit');
  signal.addEventListener('abort', quit, { once: true });
  store.set({ screen: 'run', busy: null, problem: null });
  const running = runner.start(choice, {
    emit: (event) => store.set({ run: reduce(store.get().run, event, now()) }),
    signal: stop.signal,
  });
  store.onKey((key) => {
    if (key === 'interrupt') options.interrupt();
    if (key === 'q') quit();
    if (key === 'b') halt('background');
    if (key === 'p' && store.get().leaving === null) {
      const paused = !store.get().paused;
      store.set({ paused });
      if (paused) running.pause();
      else running.resume();
    }
  });
  if (signal.aborted) quit();
  const ticker = setInterval(() => store.set({}), TICK_MS);
  try {
    return { kind: 'finished', receipt: await running.done };
  } catch (thrown) {
    // A stop that was asked for is an outcome; anything else is a failure, also while stopping.
    const { leaving } = store.get();
    if (leaving === null || asFlashmoeError(thrown).code !== 'ERR_INTERRUPTED') throw thrown;
    if (leaving === 'quit') return { kind: 'quit', begun: true, choice };
    return { kind: 'background', ...(await runner.background(choice)) };
  } finally {
    clearInterval(ticker);
    signal.removeEventListener('abort', quit);
  }
}
