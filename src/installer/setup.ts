// A setup from the plan to the first answer. This folder is where hub and repack meet; it owns order,
// journal, disk and lock, and knows nothing of how events are drawn. Start with `openSetup`.

import { formatHours } from '../base/hours.js';
import { makeDirectory } from '../base/atomic-file.js';
import { removeEmptyFolder } from '../base/owned-files.js';
import { asFlashmoeError, FlashmoeError } from '../base/errors.js';
import { acquireLock } from '../base/file-lock.js';
import { modelPathsAt, type ModelPaths } from '../base/paths.js';
import { readCalibration, requireNarrow } from '../repack/calibration.js';
import { diskFinding } from '../machine/facts.js';
import { CONTROL_VERSION } from '../jobs/control/protocol.js';
import { JobServer } from '../jobs/control/server.js';
import { fileSize } from '../store/disk-sizes.js';
import type { Emit, InstallEvent } from '../jobs/events.js';
import type { Receipt } from '../store/receipt.js';
import { openHubSource, openOwnSource, type HubSource } from '../transfer/hub-source.js';
import { Limits, readLimits, writeLimits, type LimitChange } from '../jobs/limits.js';
import { locatedInstallation } from '../store/location.js';
import { readManifest } from '../store/manifest.js';
import { finishTakingPlace } from '../store/update-place.js';
import type { ProvisioningPlan } from '../transfer/plan.js';
import { provision } from './provision.js';
import type { PlannedSetup, RunTask, SetupRequest, SetupContext } from './setup-context.js';
import { askOffer, shareClient } from '../share/offer.js';
import { planPatiently } from './steps/patient-planning.js';
import { readUserFiles } from './user-files.js';
import { hubTask } from '../transfer/hub-events.js';
import { planCopy, type PlanningTask } from './steps/planning.js';
import { planFromModel, sideFilesOf } from './steps/planning-from-model.js';

const DEADLINE_LOOK_MS = 1_000;

export type { RunTask, SetupRequest, SetupContext } from './setup-context.js';

export interface Setup {
  readonly plan: ProvisioningPlan;
  /** At most once. Throws FlashmoeErrors, after a `failed` event; ERR_INTERRUPTED leaves all that counts on disk. */
  run(task: RunTask): Promise<Receipt>;
  /** Ends connections and the bundled hub. */
  close(): Promise<void>;
}

/** The plan step: asks the hub and the disk, writes nothing. */
export async function openSetup(
  request: SetupRequest,
  context: SetupContext,
  { emit, signal }: Pick<RunTask, 'emit' | 'signal'>,
): Promise<Setup> {
  const { model, repo, revision, quant, size = null, file = null, bytesPerSecond } = request;
  const { bundled, from = null, share = null } = request;
  if (request.calibration) requireNarrow(quant);
  const calibration = request.calibration ? await readCalibration(request.calibration) : null;
  const userFiles = await readUserFiles(request);
  const paths =
    request.into === undefined
      ? await locatedInstallation(context.home, model, quant)
      : modelPathsAt(request.into);
  let source: HubSource | null = null;
  const close = async (): Promise<void> => {
    await source?.close();
  };
  try {
    if (request.into === undefined) await finishTakingPlace(paths);
    await requireUsable(paths, context.volume);
    await requireOurFormat(paths);
    const limits = new Limits({ ...(await readLimits(paths.limits)), ...request.limits });
    const isKnown = (await fileSize(paths.journal)) !== null;
    const options = { pace: limits.pace, isKnown };
    const to = { emit, signal };
    const volume = context.volume === undefined ? {} : { volume: context.volume };
    if (share !== null) {
      const client = shareClient(context.hub, share, options);
      source = { client, close: () => Promise.resolve(client.close()) };
      const offer = await askOffer(client, share.url, hubTask(to));
      const plan = await planCopy({ paths, emit, ...volume }, offer);
      const parts = { request, context, paths, client, limits, plan, offer };
      return { plan, run: (task) => runReporting(parts, task), close };
    }
    const { madeOf = null } = request;
    if (madeOf !== null) {
      source = await openOwnSource(context.hub, await sideFilesOf(madeOf), options);
      const asked = { from: madeOf, paths, quant, size, calibration, userFiles };
      const plan = await planFromModel({ ...asked, emit, ...volume });
      const parts = { request, context, paths, client: source.client, limits, plan, offer: null };
      return { plan, run: (task) => runReporting(parts, task), close };
    }
    const planOnly = request.planOnly === true;
    const carried =
      from === null ? null : { folder: from, repo, revision, file, paths, planOnly, ...to };
    source = await openHubSource(context.hub, { repo, bundled, carried }, options);
    const { client } = source;
    const asking: PlanningTask = {
      ...{ model, repo, revision, quant, size, file, client, paths, emit, signal, bytesPerSecond },
      ...{
        bundled: bundled !== null,
        calibration,
        userFiles,
        template: request.chatTemplate ?? null,
        ...volume,
      },
      keepSource: request.keepSource === true,
      likeMlx: request.likeMlx === true,
    };
    const plan = await planPatiently(asking, request.patient ?? false);
    const parts = { request, context, paths, client, limits, plan, offer: null };
    return { plan, run: (task) => runReporting(parts, task), close };
  } catch (error) {
    await close();
    throw interruptedOr(error, signal, request);
  }
}

async function runReporting(parts: PlannedSetup, task: RunTask): Promise<Receipt> {
  const stopping = new AbortController();
  const signal = AbortSignal.any([task.signal, stopping.signal]);
  const { host } = parts.context;
  const job = new JobServer(
    {
      pause: () => task.controls.pause(),
      resume: () => task.controls.resume(),
      limits: (change) => changeLimits(parts, change),
      stop: () => stopping.abort(new FlashmoeError('ERR_INTERRUPTED', 'stopped from elsewhere')),
    },
    () => host.now(),
  );
  const emit: Emit = (event) => {
    job.publish(event);
    task.emit(event);
  };
  const ends = endAt(parts, stopping);
  try {
    return await runLocked(parts, { ...task, emit, signal }, job);
  } catch (thrown) {
    const error = interruptedOr(thrown, signal, parts.request);
    emit(failureEvent(error));
    throw error;
  } finally {
    clearInterval(ends);
    await job.close();
  }
}

/** Looked at every so often: a single timer would not count the time that the machine sleeps. */
function endAt({ request, context }: PlannedSetup, stopping: AbortController): NodeJS.Timeout {
  const look = (): void => {
    const { deadline = null } = request;
    if (deadline === null || context.host.now() < deadline) return;
    stopping.abort(new FlashmoeError('ERR_DEADLINE', 'the deadline has come', { resumable: true }));
  };
  return setInterval(look, DEADLINE_LOOK_MS).unref();
}

async function runLocked(parts: PlannedSetup, task: RunTask, job: JobServer): Promise<Receipt> {
  const { paths, context } = parts;
  await makeDirectory(paths.root);
  const lock = await acquireLock(paths.lock, {
    state: () => job.latest,
    control: { version: CONTROL_VERSION, accept: (socket) => job.accept(socket) },
    host: context.host,
  });
  let quiet = (): unknown => undefined;
  try {
    // For views that come later: what was told before there was a socket to come to.
    for (const event of planEvents(parts.plan)) job.publish(event);
    const tellLimits = (): void => task.emit(limitsEvent(parts.limits));
    const { bytesPerSecond, hours } = parts.limits.values;
    if (bytesPerSecond !== null || hours !== null) tellLimits();
    quiet = parts.limits.onChange(tellLimits);
    const receipt = await provision(parts, task);
    task.emit({ type: 'finished', receipt });
    return receipt;
  } finally {
    quiet();
    await lock.release();
    // Nothing was written, for lack of space perhaps: then no empty folder stays behind.
    await removeEmptyFolder(paths.root).catch(() => undefined);
  }
}

async function changeLimits({ limits, paths }: PlannedSetup, change: LimitChange): Promise<void> {
  limits.change(change);
  await writeLimits(paths.limits, limits.values);
}

function limitsEvent({ values: { bytesPerSecond, hours } }: Limits): InstallEvent {
  return { type: 'limits', bytesPerSecond, hours: hours === null ? null : formatHours(hours) };
}

function planEvents({ summary }: ProvisioningPlan): InstallEvent[] {
  return [
    { type: 'step', step: 'machine', status: 'done' },
    { type: 'plan', plan: summary },
    { type: 'step', step: 'plan', status: 'done' },
  ];
}

function failureEvent({ code, message, hint, resumable }: FlashmoeError): InstallEvent {
  return { type: 'failed', code, message, ...(hint === undefined ? {} : { hint }), resumable };
}

/** What a newer flashmoe finished is not to be finished again by this one; what is damaged is. */
async function requireOurFormat({ manifest }: ModelPaths): Promise<void> {
  await readManifest(manifest).catch((error: unknown) => {
    if (error instanceof FlashmoeError && error.code === 'ERR_FORMAT') throw error;
  });
}

/** Before anything is asked or written: the folder, or what it would be made in, can be written to. */
async function requireUsable(paths: ModelPaths, volume: SetupContext['volume']): Promise<void> {
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
  if (!signal.aborted) return withWayOn(asFlashmoeError(thrown), resumeCommand);
  const reason: unknown = signal.reason;
  const said = reason instanceof FlashmoeError ? reason.message : 'interrupted';
  const code =
    reason instanceof FlashmoeError && reason.code === 'ERR_DEADLINE'
      ? reason.code
      : 'ERR_INTERRUPTED';
  return new FlashmoeError(code, `${said}; everything that was finished is kept`, {
    hint: `run \`${resumeCommand}\` to go on`,
    resumable: true,
    cause: thrown,
  });
}

const DISK_HINTS: Readonly<Record<string, string>> = {
  EROFS: 'mount the volume for writing',
  EACCES: 'see that the file and its folder are yours to write',
  EPERM: 'see that the file and its folder are yours to write',
  EIO: 'check the disk and its cable',
};

/** What the system refused to write costs nothing that was finished: the journal goes on from there. */
function withWayOn(error: FlashmoeError, resumeCommand: string): FlashmoeError {
  if (error.code !== 'ERR_IO' || error.hint !== undefined) return error;
  const { code = '' } = (error.cause ?? {}) as { code?: string };
  const first = DISK_HINTS[code] ?? 'see that the volume is there and in order';
  return new FlashmoeError('ERR_IO', `${error.message}; everything that was finished is kept`, {
    hint: `${first}, then run \`${resumeCommand}\` to go on`,
    resumable: true,
    subject: error.subject,
    cause: error,
  });
}
