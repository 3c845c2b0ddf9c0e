// What the checks see of the machine and of this installation. Given from outside: a test describes
// another machine, and the doctor knows neither the installer's files nor the server.

import type { Exec } from '../base/exec.js';
import type { Host } from '../base/host.js';
import type { HomePaths } from '../base/paths.js';
import type { BackendTest } from '../addon/backend-probe.js';
import type { BackendName, MetalDevice } from '../addon/types.js';
import type { ProbeResult } from '../addon/probe.js';
import type { DepthRate } from '../addon/read-rate.js';
import type { TokenVerdict } from '../hub/whoami.js';
import type { KnownAnswer } from '../store/receipt.js';
import type { Quant } from '../models/quant.js';
import type { ServiceManager, ServiceSpec } from '../service.js';

export interface ModelFiles {
  id: string;
  root: string;
  /** Relative to `root`, with sizes in bytes as the manifest says. */
  files: { path: string; size: number }[];
  /** Model and width of its experts, as the catalogue names them. */
  model: string;
  quant: Quant;
  /** Folder of its layer files, relative to `root`. */
  experts: string;
  /** Decoding in its last known answers; null when it has given none. */
  tokensPerSecond: number | null;
}

export interface ModelsOnDisk {
  complete: ModelFiles[];
  /** Those that are not whole, in the words of the state model (docs/states.md): `why` is null where the state says it all. */
  unfinished: NotWhole[];
  /** Folders that cannot be read, and why. */
  unreadable: NotWhole[];
}

export interface NotWhole {
  id: string;
  state: string;
  why: string | null;
  /** The command that leads on. */
  next: string;
}

export interface HubAnswer {
  endpoint: string;
  milliseconds: number;
  /** null: it answered. */
  problem: string | null;
  hint: string | null;
}

export interface DoctorContext {
  host: Host;
  version: string;
  home: HomePaths;
  exec: Exec;
  /** Where the server is expected: 127.0.0.1 and this port. */
  port: number;
  /** Who listens on a port, e.g. "node (pid 4711)"; null when it can't be told. */
  portOwner(port: number): Promise<string | null>;
  models(signal: AbortSignal): Promise<ModelsOnDisk>;
  /** Paths at which the addon may lie, in order. */
  addonPaths: readonly string[];
  /** Loads one in a child process and runs its self-test. */
  probeAddon(path: string, signal: AbortSignal): Promise<ProbeResult>;
  /** Uncached reads of one size from these files, depth by depth. Needs an addon that loads. */
  measureReads(
    reads: { files: string[]; expertBytes: number },
    signal: AbortSignal,
  ): Promise<DepthRate[]>;
  /** Asks the model whose folder this is its known questions; rejects with what is wrong. */
  askKnown(id: string, signal: AbortSignal): Promise<KnownAnswer[]>;
  /** Whether the hub takes the token: null without one. Sends it to the hub's own origin only. */
  tokenVerdict(signal: AbortSignal): Promise<TokenVerdict | null>;
  /** One request to the hub, as a setup sends first; null where the settings forbid the network. */
  hubAnswer(signal: AbortSignal): Promise<HubAnswer | null>;
  /** Has one test every operation of a backend, in a child process. */
  probeBackend(path: string, backend: BackendName, signal: AbortSignal): Promise<BackendTest>;
  /** The GPU that it would compute on, or why there is none; in a child process. */
  probeDevice(
    path: string,
    signal: AbortSignal,
  ): Promise<{ device: MetalDevice } | { device: null; reason: string }>;
  /** null where there is none. */
  serviceManager(signal: AbortSignal): Promise<ServiceManager | null>;
  /** What `flashmoe service install` would write now. */
  service: ServiceSpec;
}
