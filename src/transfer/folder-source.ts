// Bytes that are here already, as a repository on a loopback port: the one pipeline plans, verifies and packs
// them like any other. Hashes come from whoever knows them without reading: the cache's blobs are called by
// them, the Hub lists them, an earlier run has them in its plan. Only what is left is read once more.

import { createHash } from 'node:crypto';
import { FlashmoeError } from '../base/errors.js';
import { formatBytes } from '../base/format.js';
import type { ModelPaths } from '../base/paths.js';
import { serveRepo, type BundledHub } from '../hub/bundled-hub.js';
import {
  commitOf,
  describeFile,
  isLargeFile,
  type BundledFile,
  type BundledRepo,
} from '../hub/bundled-repo.js';
import {
  checkpointFiles,
  locateCheckpoint,
  type CheckpointFile,
} from '../hub/checkpoint-folder.js';
import { HubClient } from '../hub/client.js';
import type { HubSettings, RepoFile, RepoListing } from '../hub/types.js';
import type { Emit } from '../jobs/events.js';
import { chooseGguf } from '../repack/gguf-files.js';
import { readJournal } from '../store/journal.js';
import { listingOf, readStoredPlan } from '../store/stored-plan.js';

/** Of repositories that exist on this machine only. */
export const LOCAL_OWNER = 'local';
const PROGRESS_BYTES = 64 << 20;
/** Stands for the sha256 of a shard that is only planned with: another one for each, as addresses are made of them. */
const unreadHash = ({ path, size }: CheckpointFile): string =>
  createHash('sha256').update(`not read\0${path}\0${size}`).digest('hex');

export interface FolderTask {
  folder: string;
  repo: string;
  revision: string;
  /** Of a GGUF model: which file. */
  file?: string | null;
  /** Of the model that it becomes. */
  paths: ModelPaths;
  /** Headers are all that will be asked for: shards whose hashes nobody knows are not read. */
  planOnly?: boolean;
  emit: Emit;
  signal: AbortSignal;
}

/** A folder on a loopback port. */
export interface ServedFolder {
  hub: BundledHub;
  /** Files of the listing that it has; null: it has all that a plan asks for. */
  paths: ReadonlySet<string> | null;
}

/** Throws ERR_USAGE for a folder without a checkpoint, ERR_REMOTE_CHANGED when the Hub lists other sizes. */
export async function serveFolder(settings: HubSettings, task: FolderTask): Promise<ServedFolder> {
  const { repo, revision, emit } = task;
  const at = await locateCheckpoint(task.folder, repo, revision);
  const { files: all, elsewhere, missing } = await checkpointFiles(at);
  const gguf = ggufFiles(all, task.file ?? null);
  const files = gguf ?? all;
  const tell = (paths: readonly string[], what: string): void => {
    if (paths.length === 0) return;
    emit({ type: 'notice', message: `${at.folder}: ${someOf(paths)}: ${what}` });
  };
  tell(elsewhere, 'links to another folder, followed');
  tell(missing, 'links to nothing, left out');
  const isNamed = files.every((file) => file.hash !== null || !isLargeFile(file));
  const known = await earlierListing(task, files);
  const isWhole =
    missing.length === 0 && (gguf !== null || hasAllShards(files.map(({ path }) => path)));
  const needsHub = known === null && !(isWhole && isNamed && at.commit !== null);
  const listing = known ?? (needsHub ? await hubListing(settings, task) : null);
  const served = await describeAll(files, listing, task);
  if (known === null) emit({ type: 'notice', message: whoVouches(at.folder, listing, isNamed) });
  const commit = listing?.commit ?? at.commit ?? commitOf(served);
  const bundled: BundledRepo = { id: repo, commit, revision, files: served };
  const hub = await serveRepo(bundled);
  if (isWhole || known !== null || listing === null) return { hub, paths: null };
  const message = `${at.folder} holds a part of ${repo}; what is there is used, the rest is fetched`;
  emit({ type: 'notice', message });
  return { hub, paths: new Set(served.map(({ path }) => path)) };
}

/** The files of one GGUF model, where the folder is one of them; others of the folder are not even read. */
function ggufFiles(files: readonly CheckpointFile[], file: string | null): CheckpointFile[] | null {
  const names = files.map(({ path }) => path);
  if (file === null && names.some((path) => path.endsWith('.safetensors'))) return null;
  const chosen = chooseGguf(names, file);
  return chosen && files.filter(({ path }) => chosen.includes(path));
}

/** By the number that the names of shards tell. */
function hasAllShards(paths: readonly string[]): boolean {
  const numbered = paths.flatMap((path) => /-of-(\d{1,6})\.safetensors$/.exec(path)?.[1] ?? []);
  const most = Math.max(0, ...numbered.map(Number));
  return paths.some((path) => path.endsWith('.safetensors')) && numbered.length >= most;
}

/** What an earlier run of this setup planned with, if all of its shards are in the folder. */
async function earlierListing(
  { paths, repo }: FolderTask,
  files: readonly CheckpointFile[],
): Promise<RepoListing | null> {
  const journal = await readJournal(paths.journal);
  const stored = await readStoredPlan(paths.plan);
  if (journal === null || stored === null || journal.header.repo !== repo) return null;
  const sizes = new Map(files.map(({ path, size }) => [path, size]));
  const listing = listingOf(stored);
  return listing.files.every(({ path, size }) => sizes.get(path) === size) ? listing : null;
}

/** Null when the Hub can't be asked or doesn't have it, which is said. */
async function hubListing(
  settings: HubSettings,
  { repo, revision, emit, signal }: FolderTask,
): Promise<RepoListing | null> {
  if (repo.startsWith(`${LOCAL_OWNER}/`)) return null;
  const client = new HubClient(settings, {
    metadataRetry: { attempts: 2, baseMs: 500, capMs: 2_000 },
  });
  try {
    return await client.list(repo, revision, { signal, emit: () => undefined });
  } catch (error) {
    if (!(error instanceof FlashmoeError) || signal.aborted) throw error;
    emit({ type: 'notice', message: `no listing of ${repo}: ${error.message}` });
    return null;
  } finally {
    client.close();
  }
}

async function describeAll(
  files: readonly CheckpointFile[],
  listing: RepoListing | null,
  { planOnly = false, emit, signal }: FolderTask,
): Promise<BundledFile[]> {
  const listed = new Map(listing?.files.map((file) => [file.path, file]));
  const wanted = listing === null ? files : files.filter(({ path }) => listed.has(path));
  const hashOf = (file: CheckpointFile): string | null => {
    const unread = planOnly && isLargeFile(file) ? unreadHash(file) : null;
    if (listing === null) return file.hash ?? unread;
    return hashListed(file, listed.get(file.path), listing);
  };
  const unknown = wanted.filter((file) => hashOf(file) === null);
  const total = unknown.reduce((sum, { size }) => sum + size, 0);
  const described: BundledFile[] = [];
  let [done, told] = [0, 0];
  for (const file of wanted) {
    const onBytes = (bytes: number): void => {
      signal.throwIfAborted();
      done += bytes;
      if (done - told < PROGRESS_BYTES) return;
      told = done;
      emit({ type: 'progress', step: 'verify', item: file.path, done, total });
    };
    described.push(await describeFile(file, hashOf(file), onBytes));
  }
  return described;
}

function hashListed(
  { path, absolutePath, size }: CheckpointFile,
  listed: RepoFile | undefined,
  { repo, commit }: RepoListing,
): string | null {
  if (listed !== undefined && listed.size !== size) {
    throw new FlashmoeError(
      'ERR_REMOTE_CHANGED',
      `${absolutePath} has ${formatBytes(size)} (${size} bytes), where ${path} of ${repo} at ${commit.slice(0, 12)} has ${listed.size}; nothing was written`,
      {
        hint: 'it is of another revision (name it with --revision) or was not copied whole',
        subject: path,
      },
    );
  }
  return listed?.sha256 ?? listed?.gitSha1 ?? null;
}

/** The first few, and how many more. */
function someOf(paths: readonly string[]): string {
  const shown = paths.slice(0, 3).join(', ');
  return paths.length > 3 ? `${shown} and ${paths.length - 3} more` : shown;
}

function whoVouches(folder: string, listing: RepoListing | null, isNamed: boolean): string {
  if (listing !== null) {
    const at = `${listing.repo} at ${listing.commit.slice(0, 12)}`;
    return `${folder}: every file is held against the hashes that the hub lists for ${at}`;
  }
  if (isNamed)
    return `${folder}: every shard is held against the sha256 that its blob is called by`;
  return `${folder}: nobody vouches for these bytes; only headers, index and sizes are checked`;
}
