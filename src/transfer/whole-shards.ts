// The long part: shards in, model files out, as a rolling window. One lane packs in the order of the plan;
// beside it the next shard downloads as soon as the promised peak leaves room. Every transition is in the
// journal before anything that it replaces may go.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { runJob } from '../addon/load.js';
import { makeDirectory, PARTIAL_SUFFIX } from '../base/atomic-file.js';
import { FlashmoeError } from '../base/errors.js';
import { removeOwned, type OwnedFolder } from '../base/owned-files.js';
import { extractDense, packLayer, type PackTarget } from '../repack/pack.js';
import type { LayerPlan } from '../repack/types.js';
import type { JournalEntry } from '../store/journal.js';
import { layerPath } from '../store/model-files.js';
import { ownedModel } from '../store/ownership.js';
import { requantisedLayer } from '../store/requantisation.js';
import { CACHEDIR_TAG, lineRoom, type TransferTask } from './transfer-task.js';
import { fetchWhole } from './whole-file.js';

/** Returns the bytes that this run added to what was there. On abort everything journalled is durable and nothing else counts. */
export async function transfer(task: TransferTask): Promise<{ downloadedBytes: number }> {
  const { dense, layers } = task.plan.stored.pack;
  if ([dense, ...layers].some(({ conversions }) => conversions !== undefined)) throw rangesOnly();
  const run = new Transfer(task);
  try {
    return await run.all();
  } finally {
    await run.stop();
  }
}

function rangesOnly(): FlashmoeError {
  return new FlashmoeError(
    'ERR_REMOTE_CONTENT',
    'the server sends whole files only, and originals and GGUF files are taken range by range; nothing more was fetched',
    {
      hint: 'use another network, or download the repository and run `flashmoe setup --from FOLDER`',
    },
  );
}

class Transfer {
  readonly #task: TransferTask;
  readonly #target: PackTarget;
  /** Ends what still runs when one lane fails. */
  readonly #stop = new AbortController();
  readonly #signal: AbortSignal;
  readonly #fetches = new Map<string, Promise<void>>();
  #downloadedBytes = 0;

  constructor(task: TransferTask) {
    this.#task = task;
    const { addon, paths, plan, threads } = task;
    this.#signal = AbortSignal.any([task.signal, this.#stop.signal]);
    this.#target = {
      addon,
      root: paths.root,
      expertsDir: paths.experts(plan.stored.pack.quant),
      shardPath: (shard) => join(paths.download, shard),
      threads,
      signal: this.#signal,
    };
  }

  async all(): Promise<{ downloadedBytes: number }> {
    const { emit, plan, paths, gate, budget } = this.#task;
    const { steps } = plan.work;
    this.#tellSkipped();
    if (steps.length > 0) {
      await makeDirectory(paths.download);
      await writeFile(join(paths.download, 'CACHEDIR.TAG'), CACHEDIR_TAG);
    }
    for (const [index, step] of steps.entries()) {
      await gate.pass(this.#signal);
      this.#fetchAhead(index);
      switch (step.type) {
        case 'fetch':
          await this.#fetched(step.shard);
          break;
        case 'dense':
          await this.#dense(step.shard);
          break;
        case 'layer':
          await this.#layer(step.layer);
          break;
        case 'release':
          await this.#release(step.shard);
      }
    }
    await budget.sample();
    if (steps.length > 0) {
      emit({ type: 'step', step: 'fetch', status: 'done' });
      emit({ type: 'step', step: 'pack', status: 'done' });
    }
    return { downloadedBytes: this.#downloadedBytes };
  }

  /** Waits for what is in flight, so that nothing writes after the journal is closed. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await Promise.allSettled(this.#fetches.values());
  }

  #tellSkipped(): void {
    const { emit, plan, paths } = this.#task;
    const { pack } = plan.stored;
    const { steps } = plan.work;
    const status = steps.length > 0 ? 'started' : 'skipped';
    const detail = steps.length > 0 ? undefined : 'all there';
    for (const step of ['fetch', 'pack'] as const) {
      emit({ type: 'step', step, status, ...(detail === undefined ? {} : { detail }) });
    }
    const toFetch = new Set(steps.flatMap((step) => (step.type === 'fetch' ? [step.shard] : [])));
    for (const shard of pack.order) {
      if (!toFetch.has(shard)) emit({ type: 'shard', shard, step: 'fetch', status: 'skipped' });
    }
    for (const layer of pack.layers) {
      if (!plan.state.layers.has(layer.layer)) continue;
      const file = layerPath(paths, pack.quant, layer);
      emit({ type: 'layer', layer: layer.layer, file, status: 'skipped' });
    }
  }

  /** Starts the next download if it may run beside step `index`. */
  #fetchAhead(index: number): void {
    const { steps, mayStart } = this.#task.plan.work;
    const next = steps.findIndex((step, at) => at >= index && step.type === 'fetch');
    const step = steps[next];
    if (step?.type !== 'fetch' || (mayStart.get(next) ?? next) > index) return;
    void this.#fetched(step.shard).catch(() => undefined);
  }

  #fetched(shard: string): Promise<void> {
    const running = this.#fetches.get(shard) ?? this.#fetch(shard);
    this.#fetches.set(shard, running);
    return running;
  }

  async #fetch(shard: string): Promise<void> {
    const { plan, emit, budget } = this.#task;
    if (plan.state.verified.has(shard)) {
      emit({ type: 'shard', shard, step: 'fetch', status: 'skipped' });
      return;
    }
    const { size, sha256 } = this.#shard(shard);
    emit({ type: 'shard', shard, step: 'fetch', status: 'started' });
    const { listing, paths } = this.#task;
    const destination = join(paths.download, shard);
    const file = { path: shard, size };
    this.#downloadedBytes += await fetchWhole(this.#task, listing, file, destination, this.#signal);
    await this.#append({ step: 'verified', shard, bytes: size, sha256 });
    emit({ type: 'shard', shard, step: 'fetch', status: 'done' });
    await budget.sample();
  }

  async #dense(shard: string): Promise<void> {
    const { plan, emit, budget } = this.#task;
    const { pack } = plan.stored;
    const need = pack.dense.entries
      .filter((entry) => entry.shard === shard)
      .reduce((sum, { size }) => sum + size, 0);
    emit({ type: 'shard', shard, step: 'dense', status: 'started' });
    const { bytes } = await budget.patiently(
      pack.dense.file,
      () => Promise.resolve(need),
      this.#signal,
      () => extractDense(pack, shard, this.#target),
    );
    await this.#append({ step: 'dense', shard, bytes });
    emit({ type: 'shard', shard, step: 'dense', status: 'done' });
  }

  async #layer(index: number): Promise<void> {
    const { addon, plan, emit, paths, budget } = this.#task;
    const { pack } = plan.stored;
    const layer = pack.layers.find((candidate) => candidate.layer === index) as LayerPlan;
    const file = layerPath(paths, pack.quant, layer);
    emit({ type: 'layer', layer: index, file, status: 'started' });
    const onProgress = (done: number, total: number): void => {
      emit({ type: 'progress', step: 'pack', item: file, done, total });
    };
    const partial = join(paths.root, file + PARTIAL_SUFFIX);
    const need = async (): Promise<number> => {
      // It is written anew from its beginning, so what it holds now is room, too.
      await removeOwned(this.#owner, partial);
      return layer.size;
    };
    const { sha256, error } = await budget.patiently(file, need, this.#signal, () =>
      packLayer(pack, index, { ...this.#target, onProgress }),
    );
    const { chain } = await runJob(
      addon.hashFile(join(paths.root, file), onProgress),
      this.#signal,
    );
    if (chain.at(-1) !== sha256) {
      throw new FlashmoeError('ERR_IO', `${file}: reads back other than it was written`);
    }
    const errors = requantisedLayer(pack, index, error);
    await this.#append({
      ...{ step: 'packed', layer: index, file, bytes: layer.size, sha256, chain },
      ...(errors.length === 0 ? {} : { errors }),
    });
    emit({ type: 'layer', layer: index, file, status: 'done' });
    await budget.sample();
  }

  async #release(shard: string): Promise<void> {
    const { emit, paths } = this.#task;
    await this.#append({ step: 'released', shard });
    await removeOwned(this.#owner, join(paths.download, shard));
    emit({ type: 'shard', shard, step: 'release', status: 'done' });
  }

  async #append(entry: JournalEntry): Promise<void> {
    const { journal, budget } = this.#task;
    const need = (): Promise<number> => Promise.resolve(lineRoom(entry));
    await budget.patiently('the journal', need, this.#task.signal, () => journal.append(entry));
  }

  get #owner(): OwnedFolder {
    const { paths, plan } = this.#task;
    return ownedModel(paths, { plan: plan.stored });
  }

  #shard(path: string): { size: number; sha256: string } {
    const found = this.#task.plan.stored.pack.shards.find((shard) => shard.path === path);
    if (found === undefined) throw new RangeError(`${path} is not in the plan`);
    return found;
  }
}
