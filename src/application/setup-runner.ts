// What the wizard needs done, as an interface: the views never import the installer itself.

import type { InstallEvent, PlanSummary } from '../jobs/events.js';
import type { Quant } from '../models/quant.js';
import type { Receipt } from '../store/receipt.js';

/** Of the check of the machine. */
export type Finding = Omit<Extract<InstallEvent, { type: 'finding' }>, 'type'>;

/** A row of the model table, with what this machine will make of it. */
export interface ModelChoice {
  id: string;
  title: string;
  repo: string;
  /** Bytes; null when not known before asking the hub. */
  downloadBytes: number | null;
  finalBytes: { quant: Quant; bytes: number | null }[];
  goodFor: string;
  license: string;
  /** Tokens. */
  contextLength: number;
  /** Weights that stay in memory, a working context and the engine's buffers, at 4 bits. */
  memoryBytes: number;
  /** Of decoding on this machine; null when nothing is known that says something about it. */
  speed: ExpectedSpeed | null;
  /** Comes with flashmoe, for trying it out. */
  isBundled: boolean;
  verdict: Verdict;
  /** Quantisations that are provisioned and verified here. */
  installed: Quant[];
}

/** Tokens a second, and where the figure comes from. */
export interface ExpectedSpeed {
  low: number;
  high: number;
  source: string;
}

export interface Verdict {
  /** good: worth it. slow: runs, mind the speed. no: can't. small: fits in memory, a resident engine is faster. */
  level: 'good' | 'slow' | 'no' | 'small';
  text: string;
}

/** What the catalogue does not have: a repository by its name, or bytes that are here or on another machine. */
export type SourceKind = 'repo' | 'from';

export interface NamedSource {
  model: string;
  repo: string;
  revision: string | null;
  /** As --from takes it; null for a repository. */
  from: string | null;
  /** Of a GGUF model: which file. */
  file: string | null;
  /** Of what another machine shares; null where it can be chosen. */
  quant: Quant | null;
}

export interface SetupChoice {
  model: string;
  /** Where `model` came from by another way than the catalogue. */
  source?: NamedSource | null;
  quant: Quant;
  /** Start the server at login when done. */
  service: boolean;
}

/** Where the events of a run go. `at`: when it happened, for one of another process that is told later. */
export type EmitAt = (event: InstallEvent, at?: number) => void;

export interface StartTask {
  emit: EmitAt;
  /** An abort ends the run, or the view of it where it is another process's. */
  signal: AbortSignal;
  /** Told once when the run turns out to be another process's. */
  attached: (pid: number | null) => void;
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
  /** What was typed, looked up. Throws ERR_USAGE for what is neither. */
  source(kind: SourceKind, text: string, signal: AbortSignal): Promise<NamedSource>;
  /** Changes nothing. */
  plan(choice: SetupChoice, signal: AbortSignal): Promise<PlanSummary>;
  /** Where the same setup is running already, in another process, that run is shown. */
  start(choice: SetupChoice, task: StartTask): RunningSetup;
  /** The same run in a process that outlives this terminal; only after `done` of this one settled. */
  background(choice: SetupChoice): Promise<{ pid: number; log: string }>;
}
