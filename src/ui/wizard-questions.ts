// The questions before a run: machine, model, bits, plan. Forward with enter, back with escape.

import { asFlashmoeError } from '../base/errors.js';
import { QUANTS } from '../models/quant.js';
import type { SetupChoice } from '../application/setup-runner.js';
import {
  blocked,
  chosenModel,
  chosenQuant,
  type Screen,
  type WizardKey,
  type WizardState,
} from './wizard-state.js';
import type { WizardStore } from './wizard-store.js';
import type { WizardOptions } from './wizard-options.js';

type Move = 'next' | 'back' | 'quit';
type Question = Exclude<Screen, 'run'>;

interface QuestionScreen {
  /** Said while `load` is under way. */
  busy: string | null;
  load: (signal: AbortSignal) => Promise<Partial<WizardState>>;
  /** Keys beside enter, escape and q, which mean the same everywhere. */
  keys: (key: WizardKey) => void;
}

export function currentChoice(store: WizardStore, options: WizardOptions): SetupChoice {
  const state = store.get();
  return {
    model: options.model ?? chosenModel(state)?.id ?? '',
    quant: chosenQuant(state),
    service: state.service ?? false,
  };
}

/** True when the user agreed to the plan, false when they left. */
export async function askQuestions(store: WizardStore, options: WizardOptions): Promise<boolean> {
  const all = screens(store, options);
  const order = (['machine', 'model', 'quant', 'plan'] as const).filter(
    (screen) =>
      !(screen === 'model' && options.model !== null) &&
      !(screen === 'quant' && (options.quant !== null || options.yes)),
  );
  let at = 0;
  for (;;) {
    const screen = order[at];
    if (screen === undefined) return true;
    const move = await show(store, options, screen, all[screen]);
    if (move === 'quit') return false;
    at = move === 'next' ? at + 1 : Math.max(0, at - 1);
  }
}

function screens(store: WizardStore, options: WizardOptions): Record<Question, QuestionScreen> {
  const { runner } = options;
  const nothing = (): void => undefined;
  return {
    machine: {
      busy: 'checking this machine',
      load: async (signal) => ({ findings: await runner.machine(signal) }),
      keys: nothing,
    },
    model: {
      busy: 'reading the catalogue',
      load: async (signal) => {
        const models = await runner.models(signal);
        const before = store.get();
        if (before.models.length > 0) return { models };
        const first = models.findIndex(({ id }) => id === options.recommended);
        return { models, modelIndex: Math.max(0, first) };
      },
      keys: (key) => {
        const { modelIndex, models } = store.get();
        store.set({ modelIndex: moved(key, modelIndex, models.length) });
      },
    },
    quant: {
      busy: null,
      load: () => Promise.resolve({}),
      keys: (key) => {
        store.set({ quantIndex: moved(key, store.get().quantIndex, QUANTS.length) });
      },
    },
    plan: {
      busy: 'reading the headers of all shards',
      load: async (signal) => ({ plan: await runner.plan(currentChoice(store, options), signal) }),
      keys: (key) => {
        const { service } = store.get();
        if (key === 'space' && service !== null) store.set({ service: !service });
      },
    },
  };
}

function moved(key: WizardKey, index: number, count: number): number {
  if (key === 'up') return Math.max(0, index - 1);
  return key === 'down' ? Math.min(count - 1, index + 1) : index;
}

/** Looks up what a screen shows, then lets keys decide how it is left. */
async function show(
  store: WizardStore,
  options: WizardOptions,
  screen: Question,
  { busy, load, keys }: QuestionScreen,
): Promise<Move> {
  const look = new AbortController();
  let leave: (move: Move) => void = () => undefined;
  let fail: (error: Error) => void = () => undefined;
  const left = new Promise<Move>((resolve, reject) => {
    leave = resolve;
    fail = reject;
  });
  const quit = (): void => leave('quit');
  options.signal.addEventListener('abort', quit, { once: true });
  store.set({ screen, busy, problem: null });
  store.onKey((key) => {
    if (key === 'interrupt') options.interrupt();
    else if (key === 'q') quit();
    else if (key === 'escape') leave('back');
    else if (key !== 'enter') keys(key);
    else if (isOpen(store.get())) leave('next');
  });
  const loading = load(look.signal).then(
    (found) => {
      store.set({ ...found, busy: null });
      // Agreeing beforehand is agreeing to a named model, never to whichever comes first.
      if (options.yes && screen !== 'model' && isOpen(store.get())) leave('next');
    },
    (thrown: unknown) => {
      if (look.signal.aborted) return;
      // Without somebody to choose otherwise, a failed look-up is the end.
      if (options.yes) fail(asFlashmoeError(thrown));
      const { message, hint = null } = asFlashmoeError(thrown);
      store.set({ busy: null, problem: { message, hint } });
    },
  );
  try {
    if (options.signal.aborted) return 'quit';
    return await left;
  } finally {
    look.abort();
    await loading;
    options.signal.removeEventListener('abort', quit);
  }
}

/** Whether enter leads on. */
function isOpen(state: WizardState): boolean {
  return state.busy === null && state.problem === null && !blocked(state);
}
