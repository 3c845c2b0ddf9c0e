// The course of the wizard: questions, the run, one outcome at the end. It knows neither terminal nor
// React; a view subscribes to its state and feeds it keys.

import { asFlashmoeError, FlashmoeError } from '../base/errors.js';
import type { Receipt } from '../store/receipt.js';
import { reduce } from '../jobs/run-view.js';
import type { RunningSetup, SetupChoice, StartTask } from '../application/setup-runner.js';
import type { ViewOptions, WizardOptions } from './wizard-options.js';
import { askQuestions, currentChoice } from './wizard-questions.js';
import { FIRST_STATE, type WizardKey, type WizardState } from './wizard-state.js';
import { createStore, type WizardStore } from './wizard-store.js';

export type WizardOutcome =
  | { kind: 'finished'; receipt: Receipt }
  | { kind: 'quit'; begun: boolean; choice: SetupChoice | null }
  | { kind: 'background'; pid: number; log: string }
  /** The view was closed; the run of that process goes on. */
  | { kind: 'left'; pid: number | null };

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
  const first = {
    // A frame is drawn before the first look-up begins: it must not offer to go on.
    busy: 'starting',
    service: options.service,
    ...(options.quant === null ? {} : { quants: [options.quant] }),
  };
  return onStore(first, options, async (store) => {
    const answer = await askQuestions(store, options);
    if (answer === 'quit') return { kind: 'quit', begun: false, choice: null };
    const choice = currentChoice(store, options);
    const { runner } = options;
    if (answer === 'background') {
      store.set({ busy: 'handing over to the background' });
      return { kind: 'background', ...(await runner.background(choice)) };
    }
    return await watch(store, options, {
      choice,
      start: (task) => runner.start(choice, task),
      background: () => runner.background(choice),
    });
  });
}

/** The run screen alone, on a run of another process. */
export function createAttachedView(
  start: (task: StartTask) => RunningSetup,
  options: ViewOptions,
): Wizard {
  const background = (): never => {
    throw new RangeError('a run of another process is in the background already');
  };
  return onStore({ screen: 'run', attached: { pid: null } }, options, (store) =>
    watch(store, options, { choice: null, start, background }),
  );
}

function onStore(
  first: Partial<WizardState>,
  { now }: ViewOptions,
  course: (store: WizardStore) => Promise<WizardOutcome>,
): Wizard {
  const store = createStore({ ...FIRST_STATE, now: now(), ...first }, now);
  return {
    state: store.published,
    subscribe: store.subscribe,
    key: (key) => {
      const { showsKeys } = store.get();
      if (key === 'help' || showsKeys) store.set({ showsKeys: !showsKeys });
      if (key === 'interrupt' || (key !== 'help' && !showsKeys)) store.key(key);
    },
    run: async () => {
      try {
        return await course(store);
      } finally {
        store.flush();
      }
    },
  };
}

interface Watched {
  choice: SetupChoice | null;
  start: (task: StartTask) => RunningSetup;
  background: () => Promise<{ pid: number; log: string }>;
}

async function watch(
  store: WizardStore,
  { now, signal, interrupt }: ViewOptions,
  { choice, start, background }: Watched,
): Promise<WizardOutcome> {
  const stop = new AbortController();
  const halt = (leaving: 'quit' | 'background'): void => {
    if (store.get().leaving !== null) return;
    store.set({ leaving });
    stop.abort(new FlashmoeError('ERR_INTERRUPTED', 'interrupted'));
  };
  const quit = (): void => halt('quit');
  signal.addEventListener('abort', quit, { once: true });
  store.set({ screen: 'run', busy: null, problem: null });
  const running = start({
    emit: (event, at = now()) => {
      // Another terminal may have paused it.
      if (event.type === 'waiting' && event.code === 'paused') store.set({ paused: true });
      if (event.type === 'resumed') store.set({ paused: false });
      store.set({ run: reduce(store.get().run, event, at) });
    },
    signal: stop.signal,
    attached: (pid) => store.set({ attached: { pid } }),
  });
  store.onKey((key) => {
    if (key === 'interrupt') interrupt();
    if (key === 'q') quit();
    if (key === 'r') store.set({ showsRetries: !store.get().showsRetries });
    if (key === 'b') halt(store.get().attached === null ? 'background' : 'quit');
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
    const { leaving, attached } = store.get();
    if (leaving === null || asFlashmoeError(thrown).code !== 'ERR_INTERRUPTED') throw thrown;
    if (attached !== null) return { kind: 'left', pid: attached.pid };
    if (leaving === 'quit') return { kind: 'quit', begun: true, choice };
    return { kind: 'background', ...(await background()) };
  } finally {
    clearInterval(ticker);
    signal.removeEventListener('abort', quit);
  }
}
