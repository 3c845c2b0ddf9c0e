// The questions before a run: machine, model, bits, plan. Forward with enter, back with escape.

import { asFlashmoeError } from '../base/errors.js';
import type { SetupChoice } from '../application/setup-runner.js';
import {
  blocked,
  chosenModel,
  chosenQuant,
  chosenSource,
  SOURCES,
  type Screen,
  type WizardKey,
  type WizardState,
} from './wizard-state.js';
import type { WizardStore } from './wizard-store.js';
import type { WizardOptions } from './wizard-options.js';

type Move = 'next' | 'back' | 'quit' | 'background';
type Question = Exclude<Screen, 'run'>;

interface QuestionScreen {
  /** Said while `load` is under way. */
  busy: string | null;
  load: (signal: AbortSignal) => Promise<Partial<WizardState>>;
  /** Keys beside enter, escape and q, which mean the same everywhere but where a text is typed. */
  keys: (key: WizardKey) => void;
  /** What enter looks up before it leads on. */
  enter?: (signal: AbortSignal) => Promise<Partial<WizardState>>;
  /** A text is typed: every letter is one. */
  isText?: boolean;
}

export function currentChoice(store: WizardStore, options: WizardOptions): SetupChoice {
  const state = store.get();
  const source = chosenSource(state) === null ? null : state.source;
  return {
    model: options.model ?? source?.model ?? chosenModel(state)?.id ?? '',
    ...(source === null ? {} : { source }),
    quant: source?.quant ?? chosenQuant(state),
    service: state.service ?? false,
  };
}

/** What the user did with the plan: agreed, agreed and wants it in the background, or left. */
export async function askQuestions(
  store: WizardStore,
  options: WizardOptions,
): Promise<'agreed' | 'background' | 'quit'> {
  const all = screens(store, options);
  const order = (['machine', 'model', 'source', 'quant', 'plan'] as const).filter(
    (screen) =>
      !((screen === 'model' || screen === 'source') && options.model !== null) &&
      !(screen === 'quant' && (options.quant !== null || options.yes)),
  );
  let at = 0;
  let step = 1;
  for (;;) {
    const screen = order[at];
    if (screen === undefined) return 'agreed';
    if (isSkipped(screen, store.get())) {
      at += step;
      continue;
    }
    const move = await show(store, options, screen, all[screen]);
    if (move === 'quit') return 'quit';
    if (move === 'background') return 'background';
    step = move === 'next' ? 1 : -1;
    at = Math.max(0, at + step);
  }
}

/** A model of the catalogue has no source to ask for, and what another machine shares has its width. */
function isSkipped(screen: Question, state: WizardState): boolean {
  const hasSource = chosenSource(state) !== null;
  if (screen === 'source') return !hasSource;
  return screen === 'quant' && hasSource && (state.source?.quant ?? null) !== null;
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
        const rows = models.length + SOURCES.length;
        store.set({ modelIndex: moved(key, modelIndex, rows), refusal: null });
      },
    },
    source: {
      busy: null,
      load: () => Promise.resolve({ source: null }),
      keys: (key) => {
        const { typed } = store.get();
        if (key === 'backspace') store.set({ typed: typed.slice(0, -1), problem: null });
        if (typeof key === 'object') store.set({ typed: typed + key.text, problem: null });
      },
      isText: true,
      enter: async (signal) => {
        const { typed } = store.get();
        const kind = chosenSource(store.get())?.kind ?? 'repo';
        return { source: await runner.source(kind, typed, signal) };
      },
    },
    quant: {
      busy: null,
      load: () => Promise.resolve({}),
      keys: (key) => {
        store.set({ quantIndex: moved(key, store.get().quantIndex, store.get().quants.length) });
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
  { busy, load, keys, enter, isText = false }: QuestionScreen,
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
  store.set({ screen, busy, problem: null, refusal: null });
  const goOn = async (): Promise<void> => {
    if (enter === undefined) return leave('next');
    store.set({ busy: 'looking it up' });
    try {
      store.set({ ...(await enter(look.signal)), busy: null });
      leave('next');
    } catch (thrown) {
      const { message, hint = null } = asFlashmoeError(thrown);
      store.set({ busy: null, problem: { message, hint } });
    }
  };
  store.onKey((key) => {
    if (key === 'interrupt') options.interrupt();
    else if (key === 'q' && !isText) quit();
    else if (key === 'escape') leave('back');
    else if (key === 'b' && screen === 'plan' && isOpen(store.get())) leave('background');
    else if (key !== 'enter') keys(key);
    else if (isOpen(store.get())) void goOn();
    else store.set({ refusal: refusalOf(store.get()) });
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

/** Why enter does not lead on. */
function refusalOf(state: WizardState): string | null {
  if (state.busy !== null) return null;
  const model = chosenModel(state);
  if (state.screen === 'model' && model !== null) {
    return `${model.id} does not run here: ${model.verdict.text}`;
  }
  return state.screen === 'source' && state.typed.trim() === '' ? 'nothing is typed yet' : null;
}

/** Whether enter leads on. */
function isOpen(state: WizardState): boolean {
  return state.busy === null && state.problem === null && !blocked(state);
}
