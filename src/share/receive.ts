// A finished model from another machine, in place of fetching and packing: file after file, each written down
// when it is whole, so that the last steps find all there as they would after a setup from the hub.

import { mkdir, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { writeFileAtomic } from '../base/atomic-file.js';
import { monotonic } from '../base/host.js';
import type { HubTask } from '../hub/types.js';
import { fileSize } from '../store/disk-sizes.js';
import { layerPath } from '../store/model-files.js';
import { forwardHubEvent } from '../transfer/hub-events.js';
import { hashFile } from '../base/hash-file.js';
import { CACHEDIR_TAG, lineRoom, type TransferTask } from '../transfer/transfer-task.js';
import type { JournalEntry } from '../store/journal.js';
import type { Offer } from './offer.js';
import { receiveFile, type WantedFile } from './receive-file.js';

const MANIFEST_BYTES = 64 << 20;
const PROGRESS_MS = 100;

/** Returns the bytes received in this run. Throws ERR_HASH for a block that was wrong twice. */
export async function receive(
  task: TransferTask,
  offer: Offer,
): Promise<{ downloadedBytes: number }> {
  const { plan, paths, emit, budget } = task;
  const { state } = plan;
  const { pack } = plan.stored;
  const wanted = [
    ...(state.denseFile === null ? [{ path: pack.dense.file, layer: null }] : []),
    ...pack.layers
      .filter(({ layer }) => !state.layers.has(layer))
      .map((layer) => ({ path: layerPath(paths, pack.quant, layer), layer: layer.layer })),
  ];
  const isDone = wanted.length === 0;
  for (const step of ['fetch', 'pack'] as const) {
    const status = isDone ? 'skipped' : 'started';
    emit({ type: 'step', step, status, ...(isDone ? { detail: 'all there' } : {}) });
  }
  let downloadedBytes = await bringDenseManifest(task, offer);
  if (isDone) return { downloadedBytes };
  await mkdir(paths.download, { recursive: true });
  await writeFile(join(paths.download, 'CACHEDIR.TAG'), CACHEDIR_TAG);
  const arrived = (bytes: number): void => void (downloadedBytes += bytes);
  for (const { path, layer } of wanted) {
    const { size = 0, sha256 = '' } = offer.manifest.files.find((one) => one.path === path) ?? {};
    const chain = [...(offer.chains.get(path) ?? [])];
    if (layer !== null) emit({ type: 'layer', layer, file: path, status: 'started' });
    await whole({ path, size, chain, target: join(paths.root, path) }, task, arrived);
    const fact = { file: path, bytes: size, sha256, chain };
    if (layer === null) {
      await append(task, { step: 'dense-finished', ...fact });
    } else {
      await append(task, { step: 'packed', layer, ...fact });
      emit({ type: 'layer', layer, file: path, status: 'done' });
    }
    await budget.sample();
  }
  emit({ type: 'step', step: 'fetch', status: 'done' });
  emit({ type: 'step', step: 'pack', status: 'done' });
  return { downloadedBytes };
}

/** Through pauses and full disks. */
async function whole(
  file: WantedFile,
  { client, listing, addon, gate, budget, emit, signal }: TransferTask,
  arrived: (bytes: number) => void,
): Promise<void> {
  let toldAt = 0;
  const onProgress = (done: number): void => {
    if (monotonic() - toldAt < PROGRESS_MS && done < file.size) return;
    toldAt = monotonic();
    emit({ type: 'progress', step: 'fetch', item: file.path, done, total: file.size });
  };
  const need = (): Promise<number> => Promise.resolve(file.size);
  for (;;) {
    await gate.pass(signal);
    const closing = gate.signal;
    const within = AbortSignal.any([signal, closing]);
    const to: HubTask = { signal: within, emit: (event) => forwardHubEvent(event, emit) };
    try {
      await budget.patiently(file.path, need, within, () =>
        receiveFile(file, { ...to, client, listing, addon, arrived, onProgress }),
      );
      return;
    } catch (error) {
      // A pause let go of the connections; what had arrived is in the partial file.
      if (!closing.aborted || signal.aborted) throw error;
    }
  }
}

/** Its hash is the manifest's; the last step takes it as it is. */
async function bringDenseManifest(
  { client, paths, emit, signal }: TransferTask,
  { listing, manifest }: Offer,
): Promise<number> {
  const name = basename(paths.denseManifest);
  const listed = manifest.files.find(({ path }) => path === name);
  const isThere = (await fileSize(paths.denseManifest)) !== null;
  if (isThere && (await hashFile(paths.denseManifest)) === listed?.sha256) return 0;
  const to: HubTask = { signal, emit: (event) => forwardHubEvent(event, emit) };
  const bytes = await client.readSmall(listing, name, MANIFEST_BYTES, to);
  await writeFileAtomic(paths.denseManifest, bytes);
  return bytes.length;
}

async function append({ journal, budget, signal }: TransferTask, entry: JournalEntry) {
  const need = (): Promise<number> => Promise.resolve(lineRoom(entry));
  await budget.patiently('the journal', need, signal, () => journal.append(entry));
}
