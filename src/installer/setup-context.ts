// What a setup is asked for and what it is given of the outside; tests give it another outside.

import type { BackendName, NativeAddon } from '../addon/types.js';
import type { Host } from '../base/host.js';
import type { HomePaths, ModelPaths } from '../base/paths.js';
import type { Volume } from '../base/volume.js';
import type { Engine } from '../engine/types.js';
import type { HubClient } from '../hub/client.js';
import type { HubSettings } from '../hub/types.js';
import type { TokensQuestion } from '../models/smoke.js';
import type { Controls } from '../jobs/controls.js';
import type { Emit } from '../jobs/events.js';
import type { Quant } from '../models/quant.js';
import type { LimitChange, Limits } from '../jobs/limits.js';
import type { PackedModel } from '../transfer/from-model.js';
import type { ProvisioningPlan } from '../transfer/plan.js';
import type { SetupOptions } from '../settings/setup-options.js';
import type { Offer, ShareAddress } from '../share/offer.js';

/** Options that the installer acts on, as they are named there; what nothing was said of may be absent. */
type AskedFor = Partial<
  Omit<
    SetupOptions,
    'model' | 'repo' | 'revision' | 'quant' | 'limit' | 'hours' | 'service' | 'overnight' | 'yes'
  >
>;

export interface SetupRequest extends AskedFor {
  /** Catalogue id, or what stands for a repository given by name; a folder is called after it. */
  model: string;
  repo: string;
  revision: string;
  quant: Quant;
  /** Folder of a repository that comes with flashmoe; it is served on loopback as `repo`. */
  bundled: string | null;
  /** Another machine that shares the finished model: it is copied in place of fetched and packed. */
  share?: ShareAddress | null;
  /** The model as published, which is here: the width is made of it, and no network is asked. */
  madeOf?: PackedModel | null;
  /** Known answers of this very checkpoint; none: the questions for any model are asked. */
  questions: readonly TokensQuestion[];
  /** Of a download measured lately; null: the plan measures where it is worth it. */
  bytesPerSecond: number | null;
  /** Over those that an earlier run of this setup was given. */
  limits?: LimitChange;
  /** Nobody is there to look: a plan that the network keeps from being made is tried again, without end. */
  patient?: boolean;
  /** Only the plan is wanted: shards of a folder whose hashes nobody knows are not read for it. */
  planOnly?: boolean;
  /** Folder that the model is made in; absent: where models of the home lie. */
  into?: string;
  /** What a person types to go on after an interruption. */
  resumeCommand: string;
}

/** What the engine is asked to load; the engine's own options fit. */
export interface ModelToOpen {
  addon: NativeAddon;
  id: string;
  modelDir: string;
  expertsDir: string;
  threads: number;
  ioThreads: number;
  /** Absent: the machine decides. */
  backend?: BackendName;
  signal: AbortSignal;
}

export interface SetupContext {
  home: HomePaths;
  host: Host;
  hub: HubSettings;
  openEngine: (model: ModelToOpen) => Promise<Engine>;
  /** Installs the server at login and says how it is; null when it was not asked for. */
  installService: ((signal: AbortSignal) => Promise<string>) | null;
  volume?: (path: string) => Promise<Volume>;
  /** Milliseconds between two looks at a full disk. */
  pollMs?: number;
}

export interface RunTask {
  emit: Emit;
  signal: AbortSignal;
  controls: Controls;
}

/** A setup that has its plan, and all that carrying it out needs. */
export interface PlannedSetup {
  request: SetupRequest;
  context: SetupContext;
  paths: ModelPaths;
  client: HubClient;
  limits: Limits;
  plan: ProvisioningPlan;
  /** null: from a repository. */
  offer: Offer | null;
}
