// What a wizard, or a view of a run, is given.

import type { Quant } from '../models/quant.js';
import type { SetupRunner } from '../application/setup-runner.js';

export interface ViewOptions {
  now: () => number;
  /** Aborted by a signal from outside: the same as quitting. */
  signal: AbortSignal;
  /** Ctrl-C as a key. */
  interrupt: () => void;
}

export interface WizardOptions extends ViewOptions {
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
}
