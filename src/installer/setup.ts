// A setup from the plan to the first answer. This folder is where hub and repack meet; it owns order,
// journal, disk and lock, and knows nothing of how events are drawn. Start with `openSetup`.

import { mkdir, rmdir } from 'node:fs/promises';
import { loadAddon } from '../addon/load.js';
import type { NativeAddon } from '../addon/types.js';
import { asFlashmoeError, FlashmoeError } from '../base/errors.js';
import { acquireLock } from '../base/file-lock.js';
import type { Host } from '../base/host.js';
import type { HomePaths, ModelPaths } from '../base/paths.js';
import type { Volume } from '../base/volume.js';
import type { Engine } from '../engine/types.js';
import { startBundledHub, type BundledHub } from '../hub/bundled-hub.js';
import { HubClient } from '../hub/client.js';
import type { HubSettings } from '../hub/types.js';
import { diskFinding } from '../machine/facts.js';
import type { SmokeQuestion } from '../models/smoke.js';
import { Gate, type Controls } from './controls.js';
import { DiskBudget, reserveFor } from './disk-budget.js';
import type { Emit, InstallEvent, Quant, Receipt } from './events.js';
import { Holds } from './holds.js';
import {
  openJournal,
  readJournal,
  type Journal,
  type JournalContent,
  type JournalHeader,
} from './journal.js';
import { writeManifest, type ModelManifest } from './manifest.js';
import { installationPaths } from './model-files.js';
import { makePlan, type ProvisioningPlan } from './plan.js';
import { removeOutdated } from './outdated.js';
import { ensureEngine } from './steps/engine.js';
import { askFirstAnswers } from './steps/first-answer.js';
import { finish } from './steps/finish.js';
import { currentState, planProvisioning } from './steps/planning.js';
import { fetchSideFiles } from './steps/side-files.js';
import { listingOf, storedPlanText, writeStoredPlan, type StoredPlan } from './stored-plan.js';
import { transfer, type TransferTask } from './transfer.js';

export interface SetupRequest {
  /** Catalogue id, or what stands for a repository given by name; a folder is called after it. */
  model: string;
  repo: string;
  revision: string;
  quant: Quant;
  /** Folder of a repository that comes with flashmoe; it is served on loopback as `repo`. */
  bundled: string | null;
  questions: readonly SmokeQuestion[];
  /** Of a download measured lately; null: the plan measures where it is worth it. */
  bytesPerSecond: number | null;
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
  signal: AbortSignal;
}

export interface SetupWorld {
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

export interface Setup {
  readonly plan: ProvisioningPlan;
  /** At most once. Throws FlashmoeErrors, after a `failed` event; ERR_INTERRUPTED leaves all that counts on disk. */
  run(task: RunTask): Promise<Receipt>;
  /** Ends connections and the bundled hub. */
  close(): Promise<void>;
}

/** Expert reads under way at once; the disk's queue, not the processor, sets it. */
const IO_THREADS = 8;

/** The plan step: asks the hub and the disk, writes nothing. */
export async function openSetup(
  request: SetupRequest,
  world: SetupWorld,
  { emit, signal }: Pick<RunTask, 'emit' | 'signal'>,
): Promise<Setup> {
  const { model, repo, revision, quant, bundled, bytesPerSecond } = request;
  const paths = installationPaths(world.home, model, quant);
  let local: BundledHub | null = null;
  let client: HubClient | null = null;
  const close = async (): Promise<void> => {
    client?.close();
    await local?.close();
  };
  try {
    await requireUsable(paths, world.volume);
    local = bundled === null ? null : await startBundledHub(bundled, repo);
    client = new HubClient(
      local === null
        ? world.hub
        : { ...world.hub, endpoint: local.endpoint, token: null, proxy: null },
    );
    const plan = await planProvisioning({
      ...{ model, repo, revision, quant, client, paths, emit, signal, bytesPerSecond },
      bundled: local !== null,
      ...(world.volume === undefined ? {} : { volume: world.volume }),
    });
    const parts = { request, world, paths, client, plan };
    return { plan, run: (task) => runReporting(parts, task), close };
  } catch (error) {
    await close();
    throw interruptedOr(error, signal, request);
  }
}

interface Parts {
  request: SetupRequest;
  world: SetupWorld;
  paths: ModelPaths;
  client: HubClient;
  plan: ProvisioningPlan;
}

async function runReporting(parts: Parts, task: RunTask): Promise<Receipt> {
  try {
    const receipt = await runLocked(parts, task);
    task.emit({ type: 'finished', receipt });
    return receipt;
  } catch (thrown) {
    const error = interruptedOr(thrown, task.signal, parts.request);
    const { code, message, hint, resumable } = error;
    task.emit({
      type: 'failed',
      code,
      message,
      ...(hint === undefined ? {} : { hint }),
      resumable,
    });
    throw error;
  }
}

async function runLocked(parts: Parts, task: RunTask): Promise<Receipt> {
  const { paths, world } = parts;
  await mkdir(paths.root, { recursive: true });
  let latest: InstallEvent | null = null;
  const emit: Emit = (event) => {
    latest = event;
    task.emit(event);
  };
  const lock = await acquireLock(paths.lock, { state: () => latest, host: world.host });
  try {
    return await provision(parts, { ...task, emit });
  } finally {
    await lock.release();
    // Nothing was written, for lack of space perhaps: then no empty folder stays behind.
    await rmdir(paths.root).catch(() => undefined);
  }
}

async function provision(parts: Parts, { emit, signal, controls }: RunTask): Promise<Receipt> {
  const { request, world, paths, client } = parts;
  const { stored } = parts.plan;
  const holds = new Holds(emit);
  const gate = new Gate(controls, holds);
  let journal: Journal | null = null;
  try {
    if (request.bundled !== null) await removeOutdated(paths, stored);
    const begun = await readJournal(paths.journal);
    const plan = await planUnderLock(parts.plan, paths, begun);
    const budget = new DiskBudget({
      ...{ path: paths.root, emit, holds, reserveBytes: reserveFor(plan.peakBytes) },
      ...(world.volume === undefined ? {} : { volume: world.volume }),
      ...(world.pollMs === undefined ? {} : { pollMs: world.pollMs }),
    });
    await budget.admit(plan.peakBytes, begun !== null);
    const engineDir = world.home.engine;
    const addonPath = await ensureEngine({ emit, signal, engineDir, host: world.host });
    const { addon } = loadAddon([addonPath]);

    journal = await beginJournal(
      paths,
      stored,
      budget,
      {
        schema: 1,
        repo: stored.pack.repo,
        revision: stored.revision,
        commit: stored.pack.commit,
        plan: stored.pack.fingerprint,
        quant: stored.pack.quant,
        startedAt: new Date(world.host.now()).toISOString(),
      },
      signal,
    );
    const work: TransferTask = {
      ...{ plan, client, addon, paths, journal, budget, gate, emit, signal },
      listing: listingOf(stored),
      threads: world.host.cores,
      now: () => world.host.now(),
    };
    const side = await fetchSideFiles(work);
    const { downloadedBytes } = await transfer(work);
    const manifest = await finish(work);
    await budget.sample();
    await serviceStep(world, emit, signal);
    return await proven(parts, work, manifest, {
      startedAt: journal.header.startedAt,
      downloadedBytes: side.downloadedBytes + downloadedBytes,
    });
  } finally {
    gate.close();
    await journal?.close();
  }
}

/** The plan first: a journal without its plan could be continued only by asking the hub again. */
function beginJournal(
  paths: ModelPaths,
  stored: StoredPlan,
  budget: DiskBudget,
  header: JournalHeader,
  signal: AbortSignal,
): Promise<Journal> {
  const need = (): Promise<number> => Promise.resolve(Buffer.byteLength(storedPlanText(stored)));
  return budget.patiently('the plan', need, signal, async () => {
    await writeStoredPlan(paths.plan, stored);
    return openJournal(paths.journal, header);
  });
}

/** Another run may have got further between our plan and our lock. */
async function planUnderLock(
  plan: ProvisioningPlan,
  paths: ModelPaths,
  journal: JournalContent | null,
): Promise<ProvisioningPlan> {
  const state = await currentState(paths, plan.stored, journal);
  const { directory, freeBytes } = plan.summary;
  return makePlan(plan.stored, state, { directory, freeBytes, bytesPerSecond: null });
}

async function serviceStep(world: SetupWorld, emit: Emit, signal: AbortSignal): Promise<void> {
  if (world.installService === null) {
    emit({ type: 'step', step: 'service', status: 'skipped', detail: 'not asked for' });
    return;
  }
  emit({ type: 'step', step: 'service', status: 'started' });
  try {
    const detail = await world.installService(signal);
    emit({ type: 'step', step: 'service', status: 'done', detail });
  } catch (thrown) {
    const error = asFlashmoeError(thrown);
    if (signal.aborted) throw error;
    // The model is whole without it; the user can install the service later.
    emit({ type: 'step', step: 'service', status: 'failed', detail: error.message });
  }
}

/** Known answers, then the receipt into the manifest; a model that fails them has none. */
async function proven(
  { request, world, paths }: Parts,
  { emit, signal, addon, threads, budget, now }: TransferTask,
  manifest: ModelManifest,
  run: Pick<Receipt, 'startedAt' | 'downloadedBytes'>,
): Promise<Receipt> {
  const { model, repo, commit, quant, fingerprint, finalBytes, contentSha256 } = manifest;
  const expertsDir = paths.experts(quant);
  const toOpen = { addon, id: model, modelDir: paths.root, expertsDir, threads };
  const asked = await askFirstAnswers({
    questions: request.questions,
    manifest,
    paths,
    open: (at) => world.openEngine({ ...toOpen, ioThreads: IO_THREADS, signal: at }),
    memoryBytes: world.host.memoryBytes,
    diskBytesPerSecond: null,
    emit,
    signal,
  }).catch(async (error: unknown) => {
    const isWrong = error instanceof FlashmoeError && error.code === 'ERR_KNOWN_ANSWER';
    if (isWrong && manifest.receipt !== null) {
      await writeManifest(paths.manifest, { ...manifest, receipt: null });
    }
    throw error;
  });
  if (manifest.receipt !== null) return { ...manifest.receipt, ...asked };
  const receipt: Receipt = {
    ...{ schema: 1, model, repo, commit, quant, fingerprint, directory: paths.root },
    ...{ finalBytes, contentSha256, peakBytes: budget.peakBytes },
    ...run,
    finishedAt: new Date(now()).toISOString(),
    ...asked,
  };
  await writeManifest(paths.manifest, { ...manifest, receipt });
  return receipt;
}

/** Before anything is asked or written: the folder, or what it would be made in, can be written to. */
async function requireUsable(paths: ModelPaths, volume: SetupWorld['volume']): Promise<void> {
  const { severity, title, hint } = await diskFinding(paths.root, volume);
  if (severity !== 'fail') return;
  throw new FlashmoeError('ERR_HOME', `${title}; nothing was changed`, {
    hint,
    subject: paths.root,
  });
}

/** An abort's own words, with the command that goes on; any other error as it is. */
function interruptedOr(
  thrown: unknown,
  signal: AbortSignal,
  { resumeCommand }: SetupRequest,
): FlashmoeError {
  if (!signal.aborted) return asFlashmoeError(thrown);
  const reason: unknown = signal.reason;
  const said = reason instanceof FlashmoeError ? reason.message : 'interrupted';
  return new FlashmoeError('ERR_INTERRUPTED', `${said}; everything that was finished is kept`, {
    hint: `run \`${resumeCommand}\` to go on`,
    resumable: true,
    cause: thrown,
  });
}
