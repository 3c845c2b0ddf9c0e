// The end of a layer file: once all of its shards are sealed it is read back, hashed block by block, and gets its name,
// one layer after the other beside the transfer of the next.

import { rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { runJob } from '../addon/load.js';
import { PARTIAL_SUFFIX, syncDirectory } from '../base/atomic-file.js';
import { FlashmoeError } from '../base/errors.js';
import type { LayerPlan } from '../repack/types.js';
import { fileSize } from '../store/disk-sizes.js';
import type { JournalEntry } from '../store/journal.js';
import { layerPath } from '../store/model-files.js';
import { FOLDER_BYTES, type TransferTask } from './transfer-task.js';

export class LayerNaming {
  readonly #task: TransferTask;
  readonly #append: (entry: JournalEntry) => Promise<void>;
  readonly #onFailure: (error: unknown) => void;
  readonly #todo: Set<LayerPlan>;
  #finishing: Promise<void> = Promise.resolve();

  /** `task.signal` ends it. `onFailure` is told at once what `settled` throws later. */
  constructor(
    task: TransferTask,
    append: (entry: JournalEntry) => Promise<void>,
    onFailure: (error: unknown) => void,
  ) {
    this.#task = task;
    this.#append = append;
    this.#onFailure = onFailure;
    const { state, stored } = task.plan;
    this.#todo = new Set(stored.pack.layers.filter(({ layer }) => !state.layers.has(layer)));
  }

  get isDone(): boolean {
    return this.#todo.size === 0;
  }

  /** Begins with every layer that needs none of the shards that are still open. */
  begin(open: ReadonlySet<string>): void {
    for (const layer of this.#todo) {
      if (layer.shards.some((shard) => open.has(shard))) continue;
      this.#todo.delete(layer);
      this.#finishing = this.#finishing.then(() => this.#name(layer));
    }
    this.#finishing.catch(this.#onFailure);
  }

  /** Everything begun is over; throws what went wrong. */
  settled(): Promise<void> {
    return this.#finishing;
  }

  async #name(layer: LayerPlan): Promise<void> {
    const { addon, budget, emit, gate, paths, plan, signal } = this.#task;
    const { pack } = plan.stored;
    const file = layerPath(paths, pack.quant, layer);
    const path = join(paths.root, file);
    await gate.pass(signal);
    // A run that was killed between the name and the line left it under its name.
    const isNamed = (await fileSize(path + PARTIAL_SUFFIX)) === null;
    const current = isNamed ? path : path + PARTIAL_SUFFIX;
    emit({ type: 'layer', layer: layer.layer, file, status: 'started' });
    const { sha256, bytes, chain } = await runJob(
      addon.hashFile(current, (done, total) => {
        emit({ type: 'progress', step: 'pack', item: file, done, total });
      }),
      signal,
    );
    if (bytes !== layer.size) {
      throw new FlashmoeError('ERR_IO', `${path}: has ${bytes} bytes, the plan ${layer.size}`);
    }
    const need = (): Promise<number> => Promise.resolve(FOLDER_BYTES);
    await budget.patiently(file, need, signal, async () => {
      if (!isNamed) await renameOnce(current, path);
      await syncDirectory(dirname(path));
    });
    await this.#append({ step: 'packed', layer: layer.layer, file, bytes, sha256, chain });
    emit({ type: 'layer', layer: layer.layer, file, status: 'done' });
  }
}

/** Also where an attempt before has given the name already. */
async function renameOnce(from: string, to: string): Promise<void> {
  if ((await fileSize(from)) !== null) await rename(from, to);
}
