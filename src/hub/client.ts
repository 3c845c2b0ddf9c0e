// The Hub as this program sees it: a listing at a pinned commit, small verified files, exact ranges, and
// verified downloads. Knows repositories and bytes; has never heard of a tensor.

import { FlashmoeError } from '../base/errors.js';
import { ContentHash } from './content-hash.js';
import { downloadFile, type DownloadResult } from './download.js';
import { fetchRanges, type RangeSink, type WantedRange } from './fetch-ranges.js';
import { FileSource, RangeIgnored } from './file-source.js';
import { fetchCommit, fetchListing } from './listing.js';
import { HubOrigin } from './origin.js';
import { checkRepoId, checkRevision, isCommit } from './repo-path.js';
import { DOWNLOAD_RETRY, METADATA_RETRY, withRetries, type RetryPolicy } from './retry.js';
import type { ByteSource, HubSettings, HubTask, Pace, RepoFile, RepoListing } from './types.js';

export interface HubClientOptions {
  metadataRetry?: RetryPolicy;
  downloadRetry?: RetryPolicy;
  /** Every byte of every body goes through it. */
  pace?: Pace;
  /** An earlier run of the same job had answers; see HubOrigin. */
  isKnown?: boolean;
  /** A hub of our own with some of the files, which are taken there until one turns out to be another. */
  nearby?: { settings: HubSettings; paths: ReadonlySet<string> } | null;
}

/** Headers of safetensors end before; what lies further is not worth reading a file from its start. */
const MOST_FROM_START = 128 << 20;

export class HubClient {
  readonly #origin: HubOrigin;
  readonly #metadataRetry: RetryPolicy;
  readonly #downloadRetry: RetryPolicy;
  /** One a file, so that a signed address found for a header serves the download too. */
  readonly #sources = new Map<string, FileSource>();

  readonly #nearby: { origin: HubOrigin; paths: ReadonlySet<string> } | null;

  #ignoresRanges = false;

  constructor(settings: HubSettings, options: HubClientOptions = {}) {
    this.#origin = new HubOrigin(settings, options.pace ?? null, options.isKnown);
    const { nearby = null } = options;
    this.#nearby = nearby && { origin: new HubOrigin(nearby.settings), paths: nearby.paths };
    this.#metadataRetry = options.metadataRetry ?? METADATA_RETRY;
    this.#downloadRetry = options.downloadRetry ?? DOWNLOAD_RETRY;
  }

  /** A range in mid-file was ignored twice, after a fresh resolve: this server sends whole files only. */
  get ignoresRanges(): boolean {
    return this.#ignoresRanges;
  }

  /** The commit, 40 hex digits, that `revision` (branch, tag, `refs/pr/1` or commit) stands for now. */
  async resolveCommit(repo: string, revision: string, task: HubTask): Promise<string> {
    checkRepoId(repo);
    checkRevision(revision);
    return await fetchCommit(this.#origin, repo, revision, this.#metadataRetry, task);
  }

  /** Resolves `revision` and lists every file at that commit. */
  async list(repo: string, revision: string, task: HubTask): Promise<RepoListing> {
    const commit = await this.resolveCommit(repo, revision, task);
    return await this.listAt(repo, revision, commit, task);
  }

  /** Lists every file at a commit that is known already, as a resumed plan does. */
  async listAt(
    repo: string,
    revision: string,
    commit: string,
    task: HubTask,
  ): Promise<RepoListing> {
    checkRepoId(repo);
    if (!isCommit(commit)) {
      throw new FlashmoeError(
        'ERR_REVISION',
        `${JSON.stringify(commit)} is no commit of 40 hex digits`,
      );
    }
    return await fetchListing(this.#origin, { repo, revision, commit }, this.#metadataRetry, task);
  }

  /** A whole file of at most `maxBytes`, verified by the listing's hash. ERR_HASH when it is wrong twice. */
  async readSmall(
    listing: RepoListing,
    path: string,
    maxBytes: number,
    task: HubTask,
  ): Promise<Buffer> {
    const file = fileOf(listing, path);
    if (file.size > maxBytes) {
      throw new FlashmoeError(
        'ERR_REMOTE_CONTENT',
        `${path} of ${listing.repo} has ${file.size} bytes, where at most ${maxBytes} make sense; it was not fetched`,
        { subject: path },
      );
    }
    const first = await this.#readVerified(listing, file, task);
    if (first.ok) return first.bytes;
    this.#sourceOf(listing, file).forget();
    const second = await this.#readVerified(listing, file, task);
    if (second.ok) return second.bytes;
    throw new FlashmoeError(
      'ERR_HASH',
      `${path}: ${second.algorithm} is ${second.digest}, where the listing says ${second.expected}; it was wrong twice and was not used`,
      { subject: path },
    );
  }

  /** Exactly `length` bytes from `start`. Checked by Content-Range and size, not by hash: that covers whole files. */
  async readRange(
    listing: RepoListing,
    path: string,
    start: number,
    length: number,
    task: HubTask,
  ): Promise<Buffer> {
    const file = fileOf(listing, path);
    const isInside = Number.isSafeInteger(start) && Number.isSafeInteger(length) && start >= 0;
    if (!isInside || length < 0 || start + length > file.size) {
      throw new FlashmoeError(
        'ERR_RANGE',
        `${path} has ${file.size} bytes; ${length} from ${start} do not lie inside`,
        { subject: path, resumable: false },
      );
    }
    if (length === 0) return Buffer.alloc(0);
    return await this.#read(listing, file, start, start + length, task);
  }

  /** Downloads `path` to `destination`, resuming and verifying; see downloadFile. */
  async download(
    listing: RepoListing,
    path: string,
    destination: string,
    task: HubTask,
  ): Promise<DownloadResult> {
    const file = fileOf(listing, path);
    const source = this.#sourceOf(listing, file);
    const policy = this.#downloadRetry;
    return await downloadFile({ source, listing, file, destination, policy }, task);
  }

  /** A file of the listing as ranges. */
  source(listing: RepoListing, path: string): ByteSource {
    return this.#sourceOf(listing, fileOf(listing, path));
  }

  /** Many ranges of files of the listing at once; see fetchRanges. Patient as a download. */
  async fetch(
    listing: RepoListing,
    ranges: Iterable<Omit<WantedRange, 'source'>>,
    sink: RangeSink,
    task: HubTask,
  ): Promise<void> {
    const source = (path: string) => this.source(listing, path);
    function* wanted(): Generator<WantedRange, void, void> {
      for (const range of ranges) yield { ...range, source: source(range.file) };
    }
    await fetchRanges(wanted(), sink, this.#downloadRetry, task);
  }

  /** Closes idle connections; call when done. */
  close(): void {
    this.#origin.close();
    this.#nearby?.origin.close();
  }

  async #readVerified(listing: RepoListing, file: RepoFile, task: HubTask) {
    const bytes = await this.#read(listing, file, 0, file.size, task);
    const hash = new ContentHash(file);
    hash.update(bytes);
    const { algorithm, expected } = hash;
    const digest = hash.digest();
    return { ok: digest === expected, bytes, digest, expected, algorithm };
  }

  #read(
    listing: RepoListing,
    file: RepoFile,
    start: number,
    end: number,
    task: HubTask,
  ): Promise<Buffer> {
    const source = this.#sourceOf(listing, file);
    let ignored = 0;
    return withRetries(file.path, this.#metadataRetry, task, async () => {
      const parts: Buffer[] = [];
      const from = this.#ignoresRanges && end <= MOST_FROM_START ? 0 : start;
      const range = start === end ? null : { start: from, end };
      try {
        for await (const chunk of await source.open(range, task)) parts.push(chunk);
      } catch (error) {
        if (!(error instanceof RangeIgnored) || end > MOST_FROM_START) throw error;
        ignored += 1;
        if (ignored < 2) throw error;
        this.#takeRangesForIgnored(file.path, task);
        throw new RangeIgnored(error.failure, { waitMs: null });
      }
      return Buffer.concat(parts).subarray(start - from);
    });
  }

  #takeRangesForIgnored(path: string, task: HubTask): void {
    if (this.#ignoresRanges) return;
    this.#ignoresRanges = true;
    const message = `${path}: the server ignores ranges; beginnings of files are read, and whole shards are fetched, which needs more room`;
    task.emit({ type: 'notice', message });
  }

  #sourceOf(listing: RepoListing, file: RepoFile): FileSource {
    const key = `${listing.repo}@${listing.commit}/${file.path}`;
    const known = this.#sources.get(key);
    if (known !== undefined) return known;
    const near = this.#nearby?.paths.has(file.path) === true ? this.#nearby.origin : null;
    const source = new FileSource(this.#origin, listing, file, near);
    this.#sources.set(key, source);
    return source;
  }
}

function fileOf(listing: RepoListing, path: string): RepoFile {
  const file = listing.files.find((candidate) => candidate.path === path);
  if (file !== undefined) return file;
  throw new FlashmoeError(
    'ERR_NOT_FOUND',
    `${listing.repo} has no file ${path} at ${listing.commit}`,
    {
      subject: path,
    },
  );
}
