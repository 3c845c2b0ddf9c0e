// The plan step: repository to exact plan, by listing and headers only. On a resumed setup the commit and
// the layout are the stored ones, whatever the branch says today.

import { FlashmoeError } from '../../base/errors.js';
import { formatBytes } from '../../base/format.js';
import type { ModelPaths } from '../../base/paths.js';
import { volumeOf, type Volume } from '../../base/volume.js';
import type { HubClient } from '../../hub/client.js';
import { checkNoTwins } from '../../hub/repo-path.js';
import type { HubTask, RepoListing } from '../../hub/types.js';
import { isSideFile } from '../../models/repository-files.js';
import { chooseGguf } from '../../repack/gguf-files.js';
import { buildGgufPlan } from '../../repack/gguf-plan.js';
import { indexIn, readInventory, selectShards, type ShardSource } from '../../repack/inventory.js';
import type { CalibrationRows } from '../../repack/calibration.js';
import { buildPlan } from '../../repack/plan.js';
import type { PackPlan } from '../../repack/types.js';
import { bytesBelow, neededFree } from '../../store/disk-usage.js';
import { hubTask } from '../../transfer/hub-events.js';
import { readDiskSizes } from '../../store/disk-sizes.js';
import type { Emit } from '../../jobs/events.js';
import type { Quant } from '../../models/quant.js';
import { differentRun, readJournal, type JournalContent } from '../../store/journal.js';
import { INDEX_FILE, sourceFolder } from '../../store/model-files.js';
import { makePlan, type ProvisioningPlan } from '../../transfer/plan.js';
import type { Offer } from '../../share/offer.js';
import { copyPlan } from '../../share/copy-plan.js';
import { readGgufHeaders, textHash, textsOf } from '../../store/made-files.js';
import { reconcile } from '../../store/reconcile.js';
import { neededShards, reduceJournal, type JournalState } from '../../store/state.js';
import {
  listingOf,
  readStoredPlan,
  type StoredPlan,
  type UserFile,
} from '../../store/stored-plan.js';
import { withUserFiles } from '../user-files.js';
import { measureRate } from './rate.js';
import { requireSpeech } from './speech.js';

export interface PlanningTask {
  /** Catalogue id, or what stands for a repository given by name. */
  model: string;
  repo: string;
  revision: string;
  quant: Quant;
  /** Of a setup request. */
  size: number | null;
  /** Of a GGUF model: which file of the repository, with `*` and `?`. */
  file: string | null;
  /** Shipped with this version: when it changed, an older one cannot be had any more and is replaced. */
  bundled: boolean;
  client: HubClient;
  paths: ModelPaths;
  emit: Emit;
  signal: AbortSignal;
  /** null: measured where it is worth it. */
  bytesPerSecond: number | null;
  /** What --calibration names; null: nothing was said of it. */
  calibration?: CalibrationRows | null;
  /** Of a setup request. */
  likeMlx?: boolean;
  keepSource?: boolean;
  /** That the request names now, checked. */
  userFiles?: readonly UserFile[];
  /** Where the file is that the request names with --chat-template. */
  template?: string | null;
  volume?: (path: string) => Promise<Volume>;
}

/** Below it a download is over before its measurement would have told anything. */
const WORTH_MEASURING = 1e9;
const MAX_CONFIG = 4 << 20;
const MAX_INDEX = 64 << 20;

/** Writes nothing. Throws what the hub, the family or the checkpoint refuses, and ERR_JOURNAL for another run's folder. */
export async function planProvisioning(task: PlanningTask): Promise<ProvisioningPlan> {
  task.emit({ type: 'step', step: 'plan', status: 'started' });
  try {
    const journal = await readJournal(task.paths.journal);
    const stored = withUserFiles(await choosePlan(task, journal), task.userFiles ?? []);
    const state = await currentState(task.paths, stored, journal);
    const { client, signal } = task;
    const { template = null } = task;
    // What was set up and judged is not asked again, unless something of it changes.
    if (!state.finished || template !== null)
      await requireSpeech({ ...task, stored, state, template });
    const { freeBytes } = await (task.volume ?? volumeOf)(task.paths.root);
    const { bytesPerSecond } = task;
    const whole = client.ignoresRanges;
    const circumstances = {
      ...{ directory: task.paths.root, freeBytes, bytesPerSecond, whole },
      ...(await keptCircumstance(task.paths, task.keepSource)),
    };
    let plan = makePlan(stored, state, circumstances);
    const { downloadBytes, doneBytes } = plan.summary;
    if (bytesPerSecond === null && downloadBytes - doneBytes > WORTH_MEASURING) {
      const [shard] = neededShards(stored.pack, state);
      const measured = await measureRate(client, listingOf(stored), shard, signal);
      plan = makePlan(stored, state, { ...circumstances, bytesPerSecond: measured });
    }
    plan = await withNeed(plan, task.paths);
    task.emit({ type: 'plan', plan: plan.summary });
    task.emit({ type: 'step', step: 'plan', status: 'done' });
    return plan;
  } catch (error) {
    task.emit({ type: 'step', step: 'plan', status: 'failed' });
    throw error;
  }
}

/** The plan of a copy from another machine, which tells its own. Writes nothing; throws ERR_JOURNAL as above. */
export async function planCopy(
  task: Pick<PlanningTask, 'paths' | 'emit' | 'volume'>,
  offer: Offer,
): Promise<ProvisioningPlan> {
  const { paths, emit, volume = volumeOf } = task;
  const { stored } = offer;
  emit({ type: 'step', step: 'plan', status: 'started' });
  const journal = await readJournal(paths.journal);
  const { repo, commit, quant, fingerprint: plan } = stored.pack;
  const different =
    journal &&
    differentRun(journal.header, { ...journal.header, repo, commit, quant, plan }, paths.root);
  if (different) throw different;
  const state = await currentState(paths, stored, journal);
  const { freeBytes } = await volume(paths.root);
  const circumstances = { directory: paths.root, freeBytes, bytesPerSecond: null };
  const copy = await withNeed(copyPlan(makePlan(stored, state, circumstances), offer), paths);
  emit({ type: 'plan', plan: copy.summary });
  emit({ type: 'step', step: 'plan', status: 'done' });
  return copy;
}

/** The plan with the free space that a setup demands, by the rule that its disk budget has. */
async function withNeed(plan: ProvisioningPlan, { root }: ModelPaths): Promise<ProvisioningPlan> {
  const { peakBytes, summary, state } = plan;
  if (state.finished) return plan;
  const neededBytes = neededFree(peakBytes, await bytesBelow(root));
  return { ...plan, summary: { ...summary, neededBytes } };
}

/** What a plan has to know of a checkpoint that is kept. */
export async function keptCircumstance(
  paths: ModelPaths,
  keepSource: boolean | undefined,
): Promise<{ keptBytes?: number }> {
  return keepSource === true ? { keptBytes: await bytesBelow(sourceFolder(paths)) } : {};
}

/** What the journal says and the disk confirms; nothing is done when the journal speaks of another plan. */
export async function currentState(
  paths: ModelPaths,
  stored: StoredPlan,
  journal: JournalContent | null,
): Promise<JournalState> {
  if (journal?.header.plan !== stored.pack.fingerprint) return reduceJournal([]);
  const disk = await readDiskSizes(paths, stored);
  return reconcile(reduceJournal(journal.entries), disk, stored.pack);
}

async function choosePlan(task: PlanningTask, journal: JournalContent | null): Promise<StoredPlan> {
  const { client, paths, repo, revision, emit } = task;
  if (journal === null) return planAt(task, await client.list(repo, revision, hubTask(task)));
  const { header } = journal;
  const moved = await commitNow(task);
  if (moved !== null && moved !== header.commit) {
    if (task.bundled) {
      emit({ type: 'notice', message: `the bundled ${task.model} has changed; it is set up anew` });
      return planAt(task, await client.list(repo, revision, hubTask(task)));
    }
    if (header.repo === repo && header.revision === revision) {
      const [now, then] = [moved.slice(0, 12), header.commit.slice(0, 12)];
      emit({
        type: 'notice',
        message: `${revision} of ${repo} is now at ${now}; this setup stays with ${then}, from which it began`,
      });
    }
  }
  const commit = header.revision === revision ? header.commit : (moved ?? header.commit);
  const different = differentRun(
    header,
    { ...header, repo, commit, quant: task.quant },
    paths.root,
  );
  if (different !== null) throw different;
  const stored = await readStoredPlan(paths.plan);
  if (stored?.pack.fingerprint === header.plan) {
    const { calibration = null } = task;
    const begun = stored.pack.calibration?.sha256;
    if (calibration !== null && calibration.sha256 !== begun) throw otherCalibration(paths.root);
    if (task.likeMlx === true && !isLikeMlx(stored.pack)) throw otherRule(paths.root);
    const file = stored.gguf?.file ?? null;
    if (task.file !== null && task.file !== file) throw otherFile(paths.root, file, task.file);
    if (task.size === null || task.size === stored.size) return stored;
    throw otherSize(paths.root, stored.size ?? null, task.size);
  }
  const again = await planAt(task, await client.listAt(repo, revision, commit, hubTask(task)));
  const changed = differentRun(header, { ...header, plan: again.pack.fingerprint }, paths.root);
  if (changed !== null) throw changed;
  return again;
}

function isLikeMlx({ dense, layers }: PackPlan): boolean {
  const all = [dense, ...layers].flatMap(({ conversions = [] }) => conversions);
  return all.some(({ likeMlx }) => likeMlx);
}

function otherRule(folder: string): FlashmoeError {
  return new FlashmoeError(
    'ERR_JOURNAL',
    `${folder} began without --like-mlx; nothing was changed`,
    { hint: `go on without it, or delete ${folder} and start again`, subject: '--like-mlx' },
  );
}

function otherSize(folder: string, then: number | null, now: number): FlashmoeError {
  const began = then === null ? 'no size' : formatBytes(then);
  return new FlashmoeError(
    'ERR_JOURNAL',
    `${folder} began with ${began}, now ${formatBytes(now)} is asked for; nothing was changed`,
    { hint: `go on without --size, or delete ${folder} and start again`, subject: 'size' },
  );
}

function otherFile(folder: string, then: string | null, now: string): FlashmoeError {
  const began = then === null ? 'no --file' : `--file '${then}'`;
  return new FlashmoeError(
    'ERR_JOURNAL',
    `${folder} began with ${began}, now '${now}' is asked for; nothing was changed`,
    { hint: `go on without --file, or delete ${folder} and start again`, subject: '--file' },
  );
}

function otherCalibration(folder: string): FlashmoeError {
  return new FlashmoeError(
    'ERR_JOURNAL',
    `${folder} began without this calibration; nothing was changed`,
    {
      hint: `go on without --calibration, or delete ${folder} and start again`,
      subject: '--calibration',
    },
  );
}

/** What the revision stands for today; null when nobody can be asked, which a resumed run can live with. */
async function commitNow(task: PlanningTask): Promise<string | null> {
  try {
    return await task.client.resolveCommit(task.repo, task.revision, hubTask(task));
  } catch (error) {
    const isAway =
      error instanceof FlashmoeError &&
      ['ERR_OFFLINE', 'ERR_NETWORK', 'ERR_CERTIFICATE', 'ERR_HTTP'].includes(error.code);
    if (!isAway) throw error;
    const message = `whether ${task.repo} has changed since is unknown: ${error.message}`;
    task.emit({ type: 'notice', message });
    return null;
  }
}

/** The plan for what a listing holds: config, index and headers are read, nothing is written. */
export async function planAt(
  task: Pick<
    PlanningTask,
    'model' | 'quant' | 'size' | 'file' | 'calibration' | 'likeMlx' | 'client' | 'emit' | 'signal'
  >,
  listing: RepoListing,
): Promise<StoredPlan> {
  const { client, emit, quant } = task;
  const to = hubTask(task);
  const names = listing.files.map(({ path }) => path);
  const isOther = names.some((path) => path.endsWith('.safetensors'));
  const gguf = task.file === null && isOther ? null : chooseGguf(names, task.file);
  if (gguf !== null) return await planGguf(task, listing, gguf);
  const config = await readJson(client, listing, 'config.json', MAX_CONFIG, to);
  const { index, warnings: ofIndex } = names.includes(INDEX_FILE)
    ? indexIn((await client.readSmall(listing, INDEX_FILE, MAX_INDEX, to)).toString('utf8'))
    : { index: null, warnings: [] };
  const sources = selectShards(names).map((path): ShardSource => {
    const { size = 0, sha256 = null } = listing.files.find((file) => file.path === path) ?? {};
    const read = (start: number, length: number) =>
      client.readRange(listing, path, start, length, to);
    return { path, size, sha256: sha256 ?? '', read };
  });
  const { inventory, warnings: found } = await readInventory(sources, index);
  const warnings = [...ofIndex, ...found];
  for (const { path } of inventory.shards) requireHash(listing, path);
  const { repo, commit } = listing;
  const sideFiles = listing.files.filter(({ path }) => isSideFile(path));
  checkNoTwins([...inventory.shards, ...sideFiles].map(({ path }) => path));
  const { calibration = null } = task;
  const besides = sideFiles.reduce((sum, file) => sum + file.size, calibration?.size ?? 0);
  const size = task.size === null ? null : task.size - besides;
  const { likeMlx = false } = task;
  const input = { config, inventory, repo, commit, quant, size, calibration, likeMlx, warnings };
  const pack: PackPlan = buildPlan(input);
  if (calibration !== null && calibration.commit !== commit) {
    const [then, now] = [calibration.commit.slice(0, 12), commit.slice(0, 12)];
    emit({ type: 'notice', message: `the calibration is of commit ${then}, this is ${now}` });
  }
  for (const message of pack.warnings) emit({ type: 'notice', message });
  const asked = task.size === null ? {} : { size: task.size };
  return { schema: 1, model: task.model, revision: listing.revision, ...asked, sideFiles, pack };
}

/** What options of other sources would change of a model whose blocks stay as they are. */
function requirePlain({ size, calibration, likeMlx }: GgufTask): void {
  const given = [
    ...(size === null ? [] : ['--size']),
    ...(calibration ? ['--calibration'] : []),
    ...(likeMlx === true ? ['--like-mlx'] : []),
  ];
  const [subject] = given;
  if (subject === undefined) return;
  throw new FlashmoeError('ERR_USAGE', `a GGUF file keeps the widths that it has: ${subject}`, {
    hint: 'leave it away, and choose a smaller file with --file',
    subject,
  });
}

type GgufTask = Parameters<typeof planAt>[0];

/** The same for `paths`, the files of one GGUF model. */
async function planGguf(
  task: GgufTask,
  listing: RepoListing,
  paths: readonly string[],
): Promise<StoredPlan> {
  requirePlain(task);
  for (const path of paths) requireHash(listing, path);
  checkNoTwins([...paths]);
  const headers = await readGgufHeaders(task.client, listing, paths, hubTask(task));
  const { repo, commit, revision } = listing;
  const pack = buildGgufPlan({ ...headers, repo, commit, quant: task.quant });
  const texts = await textsOf(task.client, listing, paths, hubTask(task), headers);
  const sideFiles = Object.entries(texts).map(([path, text]) => ({
    ...{ path, size: Buffer.byteLength(text), sha256: textHash(text), gitSha1: null },
  }));
  const gguf = task.file === null ? {} : { file: task.file };
  return { schema: 1, model: task.model, revision, gguf, sideFiles, pack };
}

async function readJson(
  client: HubClient,
  listing: RepoListing,
  path: string,
  maxBytes: number,
  task: HubTask,
): Promise<unknown> {
  const text = (await client.readSmall(listing, path, maxBytes, task)).toString('utf8');
  try {
    return JSON.parse(text) as unknown;
  } catch (cause) {
    throw new FlashmoeError('ERR_UNSUPPORTED_MODEL', `${path} of ${listing.repo} is not JSON`, {
      cause,
      subject: path,
    });
  }
}

function requireHash(listing: RepoListing, path: string): void {
  const file = listing.files.find((candidate) => candidate.path === path);
  if (file?.sha256) return;
  throw new FlashmoeError(
    'ERR_REMOTE_CONTENT',
    `${path} of ${listing.repo} has no sha256 in the listing, so it could not be verified; nothing was fetched`,
    { subject: path },
  );
}
