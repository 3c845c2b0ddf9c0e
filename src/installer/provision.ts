// A planned setup carried out, step by step: engine, transfer, last files, service, first answer.

import { join } from 'node:path';
import { loadAddon } from '../addon/load.js';
import { asFlashmoeError } from '../base/errors.js';
import { RangesUnsupported } from '../hub/fetch-ranges.js';
import { watchClock } from '../jobs/clock-watch.js';
import { Gate } from '../jobs/controls.js';
import { DiskBudget } from '../transfer/disk-budget.js';
import { reserveFor } from '../store/disk-usage.js';
import type { Emit } from '../jobs/events.js';
import type { Receipt } from '../store/receipt.js';
import { PauseReasons } from '../jobs/pause-reasons.js';
import {
  differentRun,
  openJournal,
  readJournal,
  type Journal,
  type JournalContent,
  type JournalHeader,
} from '../store/journal.js';
import { openHubSource } from '../transfer/hub-source.js';
import { makeFromModel, type PackedModel } from '../transfer/from-model.js';
import { keepSource } from '../transfer/keep-source.js';
import { Limits, writeLimits } from '../jobs/limits.js';
import { Recorder } from '../jobs/record/recorder.js';
import { removeBefore, takeOver } from '../store/before.js';
import { removeBegunAs, writeBegunAs } from '../store/begun-as.js';
import { beforePaths } from '../store/before-names.js';
import { sourceFolder } from '../store/model-files.js';
import { removeOutdated } from '../store/outdated.js';
import { makePlan, type ProvisioningPlan } from '../transfer/plan.js';
import { overall } from '../store/requantisation.js';
import type { PlannedSetup, RunTask, SetupContext } from './setup-context.js';
import { copyPlan } from '../share/copy-plan.js';
import { receive } from '../share/receive.js';
import { userPaths } from './user-files.js';
import { ensureEngine } from './steps/engine.js';
import { finish } from './steps/finish.js';
import { currentState, keptCircumstance } from './steps/planning.js';
import { fromModel } from './steps/planning-from-model.js';
import { proveAndReceipt } from './steps/receipt.js';
import { fetchSideFiles } from '../transfer/side-files.js';
import {
  listingOf,
  storedPlanText,
  writeStoredPlan,
  type StoredPlan,
} from '../store/stored-plan.js';
import { transferModeOf } from '../store/transfer-mode.js';
import type { JournalState } from '../store/state.js';
import { transferRanged } from '../transfer/ranged-transfer.js';
import { transfer } from '../transfer/whole-shards.js';
import type { TransferTask } from '../transfer/transfer-task.js';

/** Every step after the plan. The caller holds the folder's lock. */
export async function provision(
  parts: PlannedSetup,
  { emit: tell, signal, controls }: RunTask,
): Promise<Receipt> {
  const { request, context, paths, client, limits, offer } = parts;
  const { stored } = parts.plan;
  let journal: Journal | null = null;
  let recorder: Recorder | null = null;
  const emit: Emit = (event) => {
    recorder?.see(event);
    tell(event);
  };
  const pauseReasons = new PauseReasons(emit);
  const gate = new Gate(controls, pauseReasons, limits, context.host);
  const clock = watchClock(context.host, emit, () => gate.reconnect('the machine slept'));
  let outcome = 'finished';
  try {
    if (request.bundled !== null) await removeOutdated(paths, stored);
    const header = headerOf(stored, context.host.now());
    const begun = await readJournal(paths.journal);
    const different = begun && differentRun(begun.header, header, paths.root);
    if (different) throw different;
    const plan = await planUnderLock(parts, begun);
    const budget = new DiskBudget({
      ...{ path: paths.root, emit, pauseReasons, reserveBytes: reserveFor(plan.peakBytes) },
      ...(context.volume === undefined ? {} : { volume: context.volume }),
      ...(context.pollMs === undefined ? {} : { pollMs: context.pollMs }),
    });
    await budget.admit(plan.peakBytes, begun !== null);
    const engineDir = context.home.engine;
    const addonPath = await ensureEngine({ emit, signal, engineDir, host: context.host });
    const { addon } = loadAddon([addonPath]);

    journal = await beginJournal(parts, plan.state, budget, header, signal);
    if (Object.keys(request.limits ?? {}).length > 0)
      await writeLimits(paths.limits, limits.values);
    recorder = await Recorder.begin(
      paths.record,
      context.host.pid,
      () => context.host.now(),
      () => ({ received: limits.pace.received, peak: budget.peakBytes }),
    );
    const work: TransferTask = {
      ...{ plan, client, addon, paths, journal, budget, gate, emit, signal },
      listing: offer?.listing ?? listingOf(stored),
      threads: context.host.cores,
      now: () => context.host.now(),
    };
    const side = await fetchSideFiles(work, {
      isShared: offer !== null,
      paths: userPaths(request),
    });
    const { downloadedBytes } =
      offer !== null
        ? await receive(work, offer)
        : request.madeOf
          ? await fromModelHere(work, request.madeOf)
          : request.keepSource === true
            ? await fromKeptSource(parts, work)
            : await byEitherRoad(work, begun !== null);
    const manifest = await finish(work);
    if (request.madeOf) await endFromModel(work, request.madeOf);
    await budget.sample();
    await serviceStep(context, emit, signal);
    return await proveAndReceipt(parts, work, manifest, {
      startedAt: journal.header.startedAt,
      downloadedBytes: request.madeOf
        ? 0
        : (recorder.earlier?.receivedBytes ?? 0) + side.downloadedBytes + downloadedBytes,
      neededBytes: plan.summary.downloadBytes,
      peakBytes: Math.max(recorder.earlier?.peakBytes ?? 0, budget.peakBytes),
      weightErrors: overall([...journal.state.errors.values()]),
    });
  } catch (error) {
    const reason: unknown = signal.aborted ? signal.reason : error;
    outcome = asFlashmoeError(reason).code;
    throw error;
  } finally {
    gate.close();
    clock.close();
    await recorder?.end(outcome);
    await journal?.close();
  }
}

/** In place, the old width stands in the new one's folder from here on, and what is left of it goes at the end. */
async function fromModelHere(
  task: TransferTask,
  from: PackedModel,
): Promise<{ downloadedBytes: number }> {
  const { paths: to, plan } = task;
  const { quant } = plan.stored.pack;
  await writeBegunAs(to, { model: from.manifest.model, quant, inPlace: from.inPlace });
  const isHere = from.paths.root === beforePaths(to).root;
  const { inPlace, paths: at } = from;
  const paths = inPlace && !isHere ? await takeOver(at, to) : at;
  await makeFromModel(task, { ...from, paths });
  return { downloadedBytes: 0 };
}

/** What the new width was made of, as far as it was given up; behind the manifest, so that a run killed before goes on. */
async function endFromModel(
  { paths, emit, signal }: TransferTask,
  { inPlace }: PackedModel,
): Promise<void> {
  const foreign = inPlace ? await removeBefore(paths, signal) : [];
  for (const path of foreign) {
    const message = `stays: ${join(beforePaths(paths).root, path)}, not ours`;
    emit({ type: 'notice', message });
  }
  await removeBegunAs(paths);
}

/** The checkpoint first, all of it; then the model out of it, by ranges on loopback and at no pace. */
async function fromKeptSource(
  { request: { repo, revision }, context, paths }: PlannedSetup,
  task: TransferTask,
): Promise<{ downloadedBytes: number }> {
  const kept = await keepSource(task);
  const { emit, signal } = task;
  const carried = { folder: sourceFolder(paths), repo, revision, paths, emit, signal };
  const options = { pace: new Limits({ bytesPerSecond: null, hours: null }).pace, isKnown: true };
  const source = await openHubSource(context.hub, { repo, bundled: null, carried }, options);
  try {
    await byEitherRoad({ ...task, client: source.client }, true);
  } finally {
    await source.close();
  }
  return kept;
}

/** By ranges where the server knows them, else as whole shards, which is said and needs more room. */
async function byEitherRoad(
  task: TransferTask,
  begun: boolean,
): Promise<{ downloadedBytes: number }> {
  const { plan, budget, emit } = task;
  if (plan.ranged === null) {
    // So that the next run stays with it, whatever its server knows.
    if (transferModeOf(plan.state) === 'ranges') await takeWholeShards(task);
    return await transfer(task);
  }
  try {
    return await transferRanged(task, plan.ranged);
  } catch (error) {
    if (!(error instanceof RangesUnsupported)) throw error;
    const message = `${error.message}; whole shards are fetched from here on, which needs more room`;
    emit({ type: 'notice', message });
  }
  const { state, stored, summary } = plan;
  await takeWholeShards(task);
  const { directory, freeBytes } = summary;
  const whole = makePlan(stored, state, { directory, freeBytes, bytesPerSecond: null });
  await budget.admit(whole.peakBytes, begun);
  return await transfer({ ...task, plan: whole });
}

async function takeWholeShards({ journal }: TransferTask): Promise<void> {
  await journal.append({ step: 'road', road: 'shards', tape: null });
}

function headerOf({ pack, revision }: StoredPlan, now: number): JournalHeader {
  const { repo, commit, fingerprint: plan, quant } = pack;
  const startedAt = new Date(now).toISOString();
  return { schema: 1, repo, revision, commit, plan, quant, startedAt };
}

/** The plan first: a journal without its plan could be continued only by asking the hub again. */
function beginJournal(
  { paths, plan: { stored } }: PlannedSetup,
  state: JournalState,
  budget: DiskBudget,
  header: JournalHeader,
  signal: AbortSignal,
): Promise<Journal> {
  const need = (): Promise<number> => Promise.resolve(Buffer.byteLength(storedPlanText(stored)));
  return budget.patiently('the plan', need, signal, async () => {
    await writeStoredPlan(paths.plan, stored);
    return openJournal(paths.journal, header, state);
  });
}

/** Another run may have got further between our plan and our lock. */
async function planUnderLock(
  { plan, paths, offer, client, request }: PlannedSetup,
  journal: JournalContent | null,
): Promise<ProvisioningPlan> {
  const state = await currentState(paths, plan.stored, journal);
  const { directory, freeBytes } = plan.summary;
  const whole = client.ignoresRanges;
  const circumstances = {
    ...{ directory, freeBytes, bytesPerSecond: null, whole },
    ...(await keptCircumstance(paths, request.keepSource === true)),
  };
  const again = makePlan(plan.stored, state, circumstances);
  if (request.madeOf) return fromModel(again, request.madeOf);
  return offer === null ? again : copyPlan(again, offer);
}

async function serviceStep(context: SetupContext, emit: Emit, signal: AbortSignal): Promise<void> {
  if (context.installService === null) {
    emit({ type: 'step', step: 'service', status: 'skipped', detail: 'not asked for' });
    return;
  }
  emit({ type: 'step', step: 'service', status: 'started' });
  try {
    const detail = await context.installService(signal);
    emit({ type: 'step', step: 'service', status: 'done', detail });
  } catch (thrown) {
    const error = asFlashmoeError(thrown);
    if (signal.aborted) throw error;
    // The model is whole without it; the user can install the service later.
    emit({ type: 'step', step: 'service', status: 'failed', detail: error.message });
  }
}
