// What the wizard shows at one moment. Plain data, so a view is a function of it.

import { QUANTS, type Quant } from '../models/quant.js';
import type { PlanSummary } from '../jobs/events.js';
import { EMPTY_RUN, type Finding, type RunView } from '../jobs/run-view.js';
import type { ModelChoice } from '../application/setup-runner.js';

export type Screen = 'machine' | 'model' | 'quant' | 'plan' | 'run';

export type WizardKey =
  'up' | 'down' | 'enter' | 'escape' | 'space' | 'p' | 'b' | 'q' | 'interrupt';

export interface WizardState {
  screen: Screen;
  /** Milliseconds since the epoch, of this snapshot. */
  now: number;
  /** What is being looked up; keys other than quit wait for it. */
  busy: string | null;
  /** Why the last look-up failed; the user may go back and choose otherwise. */
  problem: { message: string; hint: string | null } | null;
  findings: readonly Finding[];
  models: readonly ModelChoice[];
  modelIndex: number;
  quantIndex: number;
  /** null: there is no service manager, or it was declined on the command line. */
  service: boolean | null;
  plan: PlanSummary | null;
  run: RunView;
  paused: boolean;
  /** Set when the run is another process's: leaving this view doesn't end it. `pid` where it is known. */
  attached: { pid: number | null } | null;
  /** Set once the run was told to stop, or its view to close. */
  leaving: 'quit' | 'background' | null;
}

export const FIRST_STATE: WizardState = {
  screen: 'machine',
  now: 0,
  busy: null,
  problem: null,
  findings: [],
  models: [],
  modelIndex: 0,
  quantIndex: 0,
  service: null,
  plan: null,
  run: EMPTY_RUN,
  paused: false,
  attached: null,
  leaving: null,
};

export function chosenModel(state: WizardState): ModelChoice | null {
  return state.models[state.modelIndex] ?? null;
}

export function chosenQuant(state: WizardState): Quant {
  return QUANTS[state.quantIndex] ?? '4bit';
}

/** Bytes missing on the volume for the plan's peak; 0 when it fits. */
export function missingBytes(plan: PlanSummary): number {
  const { neededBytes = plan.peakBytes - plan.doneBytes, freeBytes } = plan;
  return Math.max(0, neededBytes - freeBytes);
}

/** A failed check of the machine, or a disk too small, is where the wizard stops. */
export function blocked(state: WizardState): boolean {
  if (state.screen === 'machine') return state.findings.some((each) => each.severity === 'fail');
  if (state.screen === 'model') return chosenModel(state)?.verdict.level === 'no';
  if (state.screen === 'plan') return state.plan === null || missingBytes(state.plan) > 0;
  return false;
}
