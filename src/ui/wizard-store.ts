// The wizard's state between its course, which changes it, and a view, which is told of it now and then.

import type { WizardKey, WizardState } from './wizard-state.js';

export interface WizardStore {
  /** As it is now; views get the one last published. */
  get: () => WizardState;
  set: (change: Partial<WizardState>) => void;
  /** Who takes the keys from here on. */
  onKey: (listener: (key: WizardKey) => void) => void;
  key: (key: WizardKey) => void;
  published: () => WizardState;
  subscribe: (listener: () => void) => () => void;
  /** Publishes what is pending, at the end. */
  flush: () => void;
}

/** Events of a run come by the hundred; a change of screen should be seen at once. */
const REDRAW_MS = 250;

export function createStore(first: WizardState, now: () => number): WizardStore {
  let state = first;
  let published = first;
  let pending: NodeJS.Timeout | null = null;
  let onKey: (key: WizardKey) => void = () => undefined;
  const listeners = new Set<() => void>();

  const publish = (): void => {
    pending = null;
    published = { ...state, now: now() };
    for (const listener of listeners) listener();
  };
  return {
    get: () => state,
    set: (change) => {
      state = { ...state, ...change };
      pending ??= setTimeout(publish, change.run === undefined ? 0 : REDRAW_MS);
    },
    onKey: (listener) => {
      onKey = listener;
    },
    key: (key) => onKey(key),
    published: () => published,
    subscribe: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    flush: () => {
      if (pending !== null) clearTimeout(pending);
      publish();
    },
  };
}
