// What the wizard needs done, as an interface: the views never import the installer itself.

import type { InstallEvent, PlanSummary, Quant, Receipt } from '../installer/events.js';
import type { Finding } from './reduce.js';

/** A row of the model table, with what this machine will make of it. */
export interface ModelChoice {
  id: string;
  title: string;
  repo: string;
  /** Bytes; null when not known before asking the hub. */
  downloadBytes: number | null;
  finalBytes: { quant: Quant; bytes: number | null }[];
  verdict: Verdict;
  /** Quantisations that are provisioned and verified here. */
  installed: Quant[];
}

export interface Verdict {
  /** good: worth it. slow: runs, mind the speed. no: can't. small: fits in memory, a resident engine is faster. */
  level: 'good' | 'slow' | 'no' | 'small';
  text: string;
}

export interface SetupChoice {
  model: string;
  quant: Quant;
  /** Start the server at login when done. */
  service: boolean;
}

/** A provisioning under way. `done` rejects with a FlashmoeError, ERR_INTERRUPTED after an abort. */
export interface RunningSetup {
  done: Promise<Receipt>;
  pause(): void;
  resume(): void;
}

export interface SetupRunner {
  machine(signal: AbortSignal): Promise<Finding[]>;
  models(signal: AbortSignal): Promise<ModelChoice[]>;
  /** Changes nothing. */
  plan(choice: SetupChoice, signal: AbortSignal): Promise<PlanSummary>;
  start(
    choice: SetupChoice,
    task: { emit: (event: InstallEvent) => void; signal: AbortSignal },
  ): RunningSetup;
  /** The same run in a process that outlives this terminal; only after `done` of this one settled. */
  background(choice: SetupChoice): Promise<{ pid: number; log: string }>;
}
