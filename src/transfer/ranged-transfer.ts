// The long part by ranges: requests along the write plan, a native writer that hashes and places, and a journal
// that follows. A segment is what runs between two pauses; each begins where the last one's bytes are.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ErrorSums, WritePosition, ScatterWriter } from '../addon/types.js';
import { makeDirectory, PARTIAL_SUFFIX, withPath } from '../base/atomic-file.js';
import { asFlashmoeError, FlashmoeError } from '../base/errors.js';
import { monotonic } from '../base/host.js';
import { removeOwned, type OwnedFolder } from '../base/owned-files.js';
import type { RangeSink } from '../hub/fetch-ranges.js';
import type { HubTask } from '../hub/types.js';
import { CALIBRATION_FILE } from '../repack/calibration.js';
import { beginningOf, type WritePlan, type ShardPass } from '../repack/write-plan.js';
import { rangesFrom, requestBytes } from '../repack/write-plan-ranges.js';
import { bytesBelow } from '../store/disk-usage.js';
import type { JournalEntry } from '../store/journal.js';
import { LayerNaming } from './layer-naming.js';
import { layerPath } from '../store/model-files.js';
import { ownedModel } from '../store/ownership.js';
import { requantisedFrom, sumsUnderWay } from '../store/requantisation.js';
import { LINE_EVERY_BYTES, LINE_LEAST_BYTES } from '../store/expected-journal.js';
import { sealedBefore, startOf, writePlanPath, type RangedWork } from '../store/transfer-mode.js';
import { forwardHubEvent } from './hub-events.js';
import { CACHEDIR_TAG, lineRoom, type TransferTask } from './transfer-task.js';

const LINE_EVERY_MS = 5_000;
const LOOK_MS = 100;
const DISK_MS = 2_000;

/** Returns the bytes received in this run. Throws RangesUnsupported when the server sends whole files only. */
export async function transferRanged(
  task: TransferTask,
  work: RangedWork,
): Promise<{ downloadedBytes: number }> {
  return await new RangedTransfer(task, work).all();
}

class RangedTransfer {
  readonly #task: TransferTask;
  readonly #work: RangedWork;
  readonly #writes: WritePlan;
  readonly #stop = new AbortController();
  readonly #signal: AbortSignal;
  readonly #naming: LayerNaming;
  #placed: WritePosition;
  #sealed = 0;
  readonly #dropped = new Set<number>();
  #downloadedBytes = 0;

  constructor(task: TransferTask, work: RangedWork) {
    this.#task = task;
    this.#work = work;
    this.#writes = work.writes;
    this.#signal = AbortSignal.any([task.signal, this.#stop.signal]);
    this.#placed = work.placed ?? beginningOf({ at: 0, item: 0 });
    this.#naming = new LayerNaming(
      { ...task, signal: this.#signal },
      (entry) => this.#append(entry),
      (error) => this.#stop.abort(asFlashmoeError(error)),
    );
  }

  async all(): Promise<{ downloadedBytes: number }> {
    const { emit, paths, plan, budget } = this.#task;
    const isDone = this.#naming.isDone && this.#placed.at === this.#writes.length;
    this.#tellSkipped(isDone);
    if (isDone) return { downloadedBytes: 0 };
    const need = (): Promise<number> => Promise.resolve(CACHEDIR_TAG.length);
    await budget.patiently('the model', need, this.#signal, async () => {
      await makeDirectory(paths.download);
      await makeDirectory(paths.experts(plan.stored.pack.quant));
      const tag = join(paths.download, 'CACHEDIR.TAG');
      await writeFile(tag, CACHEDIR_TAG).catch((error: unknown) => {
        throw withPath(error, tag);
      });
    });
    try {
      await this.#begin();
      this.#sealed = 0;
      await this.#noteSeals(sealedBefore(this.#writes, this.#placed.item));
      while (this.#placed.item < this.#writes.items.length) await this.#segment();
      await this.#naming.settled();
    } catch (error) {
      this.#stop.abort();
      await this.#naming.settled().catch(() => undefined);
      throw error;
    }
    await budget.sample();
    emit({ type: 'step', step: 'fetch', status: 'done' });
    emit({ type: 'step', step: 'pack', status: 'done' });
    return { downloadedBytes: this.#downloadedBytes };
  }

  #tellSkipped(isDone: boolean): void {
    const { emit, plan, paths } = this.#task;
    const { pack } = plan.stored;
    const status = isDone ? 'skipped' : 'started';
    for (const step of ['fetch', 'pack'] as const) {
      emit({ type: 'step', step, status, ...(isDone ? { detail: 'all there' } : {}) });
    }
    const left = new Set(
      this.#writes.passes
        .slice(sealedBefore(this.#writes, this.#placed.item))
        .map(({ shard }) => shard),
    );
    for (const shard of pack.order) {
      if (!left.has(shard)) emit({ type: 'shard', shard, step: 'fetch', status: 'skipped' });
    }
    for (const layer of pack.layers) {
      if (!plan.state.layers.has(layer.layer)) continue;
      const file = layerPath(paths, pack.quant, layer);
      emit({ type: 'layer', layer: layer.layer, file, status: 'skipped' });
    }
  }

  /** A new write plan gets its line, and nothing of an older one may stand where it writes. */
  async #begin(): Promise<void> {
    if (this.#work.begun) return;
    await this.#forgetSpool();
    for (const file of this.#writes.files) {
      const path = this.#pathOf(file);
      await removeOwned(this.#owner, path);
      // Under its final name it is there without a line that vouches for it.
      await removeOwned(this.#owner, withoutSuffix(path));
    }
    const writes = this.#writes.fingerprint;
    await this.#append({ step: 'road', road: 'ranges', tape: writes });
  }

  /** Until the write plan's end, a pause, or a full disk. */
  async #segment(): Promise<void> {
    const { gate, budget } = this.#task;
    await gate.pass(this.#signal);
    const closing = gate.signal;
    const signal = AbortSignal.any([this.#signal, closing]);
    const need = (): Promise<number> => this.#missingBytes();
    try {
      await budget.waitForRoom(await need(), 'the model', signal);
      await budget.patiently('the model', need, signal, () => this.#run(signal));
    } catch (error) {
      // A pause let go of the connections; what had arrived is in the spool.
      if (!closing.aborted || this.#signal.aborted) throw error;
    }
  }

  async #run(signal: AbortSignal): Promise<void> {
    const stop = new AbortController();
    const within = AbortSignal.any([signal, stop.signal]);
    const writer = this.#open();
    const follow = this.#follow(writer, within).catch((error: unknown) => {
      stop.abort(asFlashmoeError(error));
      throw error;
    });
    // It is awaited below; until then a failure of the fetch is the one to tell.
    follow.catch(() => undefined);
    try {
      await this.#fetch(writer, within);
      stop.abort();
      await follow;
      await this.#checkpoint(writer, true);
    } catch (error) {
      stop.abort();
      await follow.catch(() => undefined);
      const mismatch = writer.state().mismatch;
      if (mismatch !== null) await this.#rewind(mismatch);
      else await this.#lastLine(writer, error);
    } finally {
      await writer.close();
    }
  }

  #open(): ScatterWriter {
    const { addon, paths, threads, plan } = this.#task;
    const { writes, window } = this.#work;
    const mismatches = plan.state.transfer?.mismatches.size ?? 0;
    return addon.openTape({
      ...{ items: writes.items, window, from: this.#placed, threads, method: 'search' },
      sums: this.#sumsUnderWay(),
      files: writes.files.map((file) => ({ path: this.#pathOf(file), size: file.size })),
      importance:
        plan.stored.pack.calibration === undefined ? null : join(paths.root, CALIBRATION_FILE),
      spool: join(paths.download, 'spool'),
      mark: join(paths.download, 'spool.mark'),
      // A repeated pass must not go on from what the first one left.
      binding: `${writes.fingerprint} ${window} ${mismatches}`,
    });
  }

  get #writesOf(): Parameters<typeof sumsUnderWay>[0] {
    return { writes: this.#writes, plan: this.#task.plan.stored.pack };
  }

  #sumsUnderWay(): ErrorSums | null {
    const start = startOf(this.#writes, this.#placed.item);
    const known = this.#task.plan.state.errors.values();
    return sumsUnderWay(this.#writesOf, this.#placed, start, known);
  }

  async #fetch(writer: ScatterWriter, signal: AbortSignal): Promise<void> {
    const { client, listing } = this.#task;
    const { placed, received } = writer.state();
    const ranges = rangesFrom(this.#writes.runs, placed, received, requestBytes(this.#work.window));
    const sink: RangeSink = {
      put: (at, chunks) => writer.put(at, chunks),
      arrived: (bytes) => (this.#downloadedBytes += bytes),
    };
    await client.fetch(listing, this.#announced(ranges, placed), sink, this.#hubTask(signal));
  }

  /** Says when a shard begins. */
  *#announced(
    ranges: Iterable<{ shard: string; start: number; end: number; at: number }>,
    placed: number,
  ): Generator<{ file: string; start: number; end: number; at: number }, void, void> {
    let next = this.#writes.passes.findIndex(({ end }) => end > placed);
    for (const { shard: file, start, end, at } of ranges) {
      const pass = this.#writes.passes[next];
      if (pass !== undefined && at >= pass.at) {
        this.#task.emit({ type: 'shard', shard: pass.shard, step: 'fetch', status: 'started' });
        next += 1;
      }
      yield { file, start, end, at };
    }
  }

  #hubTask(signal: AbortSignal): HubTask {
    const { emit } = this.#task;
    return { signal, emit: (event) => forwardHubEvent(event, emit) };
  }

  /** Beside the fetch: progress, journal lines, and an eye on the disk. Ends with the signal. */
  async #follow(writer: ScatterWriter, signal: AbortSignal): Promise<void> {
    let [lineAt, diskAt] = [monotonic(), monotonic()];
    while (!signal.aborted) {
      await quietly(LOOK_MS, signal);
      const { placed, sealed } = writer.state();
      this.#progress(placed);
      const [now, bytes] = [monotonic(), placed - this.#placed.at];
      const isDue =
        sealed > this.#sealed ||
        (this.#writes.releases.length > 0 && bytes >= this.#work.window) ||
        bytes >= LINE_EVERY_BYTES ||
        (bytes >= LINE_LEAST_BYTES && now - lineAt >= LINE_EVERY_MS);
      if (isDue) {
        await this.#checkpoint(writer, false);
        lineAt = monotonic();
      }
      if (now - diskAt < DISK_MS) continue;
      await this.#task.budget.sample();
      await this.#task.budget.keepReserve('the model');
      diskAt = monotonic();
    }
  }

  #progress(placed: number): void {
    const pass = this.#writes.passes.find(({ at, end }) => at <= placed && placed <= end);
    if (pass !== undefined) this.#progressOf(pass, placed - pass.at);
  }

  #progressOf({ shard: item, at, end }: ShardPass, done: number): void {
    const total = end - at;
    const before = Math.min(total, Math.max(0, (this.#work.placed?.at ?? 0) - at));
    this.#task.emit({ type: 'progress', step: 'fetch', item, done, total, before });
  }

  async #checkpoint(writer: ScatterWriter, drain: boolean): Promise<void> {
    const journalled = this.#placed.item;
    const { at, item, hash, sealed, errors: sums } = await writer.checkpoint(drain, journalled);
    if (at === this.#placed.at && item === journalled) return;
    const errors = requantisedFrom(this.#writesOf, journalled, sums);
    await this.#append({
      ...{ step: 'placed', at, item, hash },
      ...(errors.length === 0 ? {} : { errors }),
    });
    this.#placed = { at, item, hash };
    await this.#dropScratch(writer);
    await this.#noteSeals(sealed);
  }

  /** What a run that ends has placed is not to be looked for in the mark alone. */
  async #lastLine(writer: ScatterWriter, error: unknown): Promise<never> {
    // A writer that failed can sync nothing more; the first failure is the one to tell.
    await this.#checkpoint(writer, false).catch(() => undefined);
    throw error;
  }

  /** What no item behind the journalled point can need goes. */
  async #dropScratch(writer: ScatterWriter): Promise<void> {
    for (const { file: index, item } of this.#writes.releases) {
      if (item > this.#placed.item) break;
      const file = this.#writes.files[index];
      if (file === undefined || this.#dropped.has(index)) continue;
      writer.release(index);
      await removeOwned(this.#owner, this.#pathOf(file));
      this.#dropped.add(index);
    }
  }

  /** Shards up to `sealed` are whole: told and written down. */
  async #noteSeals(sealed: number): Promise<void> {
    const { emit, plan, budget } = this.#task;
    for (; this.#sealed < sealed; this.#sealed += 1) {
      const pass = this.#writes.passes[this.#sealed];
      if (pass === undefined) break;
      if (plan.state.sealed.has(pass.shard)) continue;
      const { size: bytes, sha256 } = this.#shard(pass.shard);
      await this.#append({ step: 'sealed', shard: pass.shard, bytes, sha256 });
      // The last look may have been some megabytes earlier.
      this.#progressOf(pass, pass.end - pass.at);
      emit({ type: 'shard', shard: pass.shard, step: 'fetch', status: 'done' });
      await budget.sample();
    }
    this.#naming.begin(new Set(this.#writes.passes.slice(this.#sealed).map(({ shard }) => shard)));
  }

  /** A shard came with another digest: once more from where its first bytes were fetched, and no third time. */
  async #rewind({ item, sha256 }: { item: number; sha256: string }): Promise<void> {
    const { plan, client, listing, emit } = this.#task;
    const pass = this.#writes.passes.findLast((each) => each.item <= item) as ShardPass;
    const { shard } = pass;
    const listed = this.#shard(shard).sha256;
    const earlier = plan.state.transfer?.mismatches.get(shard);
    await this.#forgetSpool();
    await this.#append({ step: 'mismatch', shard, sha256 });
    const to = beginningOf(this.#writes.passes[pass.rewindTo] ?? pass);
    await this.#append({ step: 'placed', ...to });
    this.#placed = to;
    this.#sealed = Math.min(this.#sealed, pass.rewindTo);
    this.#dropped.clear();
    client.source(listing, shard).forget();
    const said = `${shard}: sha256 is ${sha256}, where the listing says ${listed}`;
    if (earlier === undefined) {
      emit({ type: 'notice', message: `${said}; it is fetched again` });
      return;
    }
    throw new FlashmoeError('ERR_HASH', `${said}; it was wrong twice (${earlier} before)`, {
      subject: shard,
      hint:
        earlier === sha256
          ? 'both fetches gave the same bytes: tell the owner of the repository, or unset HF_ENDPOINT if it names a mirror'
          : 'the two fetches differ: suspect the network, memory or disk of this machine, then run the command again',
    });
  }

  async #forgetSpool(): Promise<void> {
    const { download } = this.#task.paths;
    for (const name of ['spool.mark', 'spool'])
      await removeOwned(this.#owner, join(download, name));
  }

  /** Room that the rest takes. */
  async #missingBytes(): Promise<number> {
    const { plan, paths } = this.#task;
    return Math.max(0, plan.peakBytes - (await bytesBelow(paths.root)));
  }

  async #append(entry: JournalEntry): Promise<void> {
    const { journal, budget, signal } = this.#task;
    const need = (): Promise<number> => Promise.resolve(lineRoom(entry));
    await budget.patiently('the journal', need, signal, () => journal.append(entry));
  }

  get #owner(): OwnedFolder {
    const { paths, plan } = this.#task;
    return ownedModel(paths, { plan: plan.stored });
  }

  #pathOf(file: WritePlan['files'][number]): string {
    const { paths, plan } = this.#task;
    return writePlanPath(file, plan.stored.pack, paths);
  }

  #shard(path: string): { size: number; sha256: string } {
    const found = this.#task.plan.stored.pack.shards.find((shard) => shard.path === path);
    if (found === undefined) throw new RangeError(`${path} is not in the plan`);
    return found;
  }
}

/** Waits, or less when the signal aborts. */
function quietly(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener('abort', done, { once: true });
    if (signal.aborted) done();
  });
}

function withoutSuffix(path: string): string {
  return path.endsWith(PARTIAL_SUFFIX) ? path.slice(0, -PARTIAL_SUFFIX.length) : path;
}
