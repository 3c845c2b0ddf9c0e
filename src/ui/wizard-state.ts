// What the wizard shows at one moment. Plain data, so a view is a function of it.

import { OFFERED_QUANTS, type Quant } from '../models/quant.js';
import type { PlanSummary } from '../jobs/events.js';
import { EMPTY_RUN, type Finding, type RunView } from '../jobs/run-view.js';
import type { ModelChoice, NamedSource, SourceKind } from '../application/setup-runner.js';

export type Screen = 'machine' | 'model' | 'source' | 'quant' | 'plan' | 'run';

/** A key by what it means, or what was typed or pasted where a text is asked for. */
export type WizardKey =
  | 'up'
  | 'down'
  | 'enter'
  | 'escape'
  | 'space'
  | 'backspace'
  | 'p'
  | 'b'
  | 'q'
  | 'r'
  | 'help'
  | 'interrupt'
  | { text: string };

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
  /** Behind the models: SOURCES. */
  modelIndex: number;
  /** What is typed where a source is asked for, and what it turned out to be. */
  typed: string;
  source: NamedSource | null;
  /** Why the row that enter was pressed on leads nowhere. */
  refusal: string | null;
  /** The keys are shown in place of the screen. */
  showsKeys: boolean;
  /** The tries that failed are shown in place of the shards. */
  showsRetries: boolean;
  /** To choose among, or the one that was named. */
  quants: readonly Quant[];
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
  typed: '',
  source: null,
  refusal: null,
  showsKeys: false,
  showsRetries: false,
  quants: OFFERED_QUANTS,
  quantIndex: 0,
  service: null,
  plan: null,
  run: EMPTY_RUN,
  paused: false,
  attached: null,
  leaving: null,
};

/** Rows behind the catalogue: what else can be set up. */
export const SOURCES: readonly { kind: SourceKind; row: string; ask: string; example: string }[] = [
  {
    kind: 'repo',
    row: 'another repository of the hub (--repo)',
    ask: 'Name of the repository',
    example: 'mlx-community/Qwen3.5-35B-A3B-4bit',
  },
  {
    kind: 'from',
    row: 'a folder, or another machine that shares (--from)',
    ask: 'Folder of the checkpoint, or address of `flashmoe share`',
    example: '~/models/x-4bit or http://other-mac:11436',
  },
];

/** null while a model of the catalogue is pointed at. */
export function chosenSource({ modelIndex, models }: WizardState): (typeof SOURCES)[number] | null {
  return SOURCES[modelIndex - models.length] ?? null;
}

export function chosenModel(state: WizardState): ModelChoice | null {
  return state.models[state.modelIndex] ?? null;
}

export function chosenQuant(state: WizardState): Quant {
  return state.quants[state.quantIndex] ?? '4bit';
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
  if (state.screen === 'source') return state.typed.trim() === '';
  if (state.screen === 'plan') return state.plan === null || missingBytes(state.plan) > 0;
  return false;
}
