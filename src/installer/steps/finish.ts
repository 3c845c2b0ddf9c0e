// Gives the model its last files: the dense file under its final name, layout.json, and the manifest that
// lists everything with size and hash. Repeating it changes nothing.

import { basename, dirname, join } from 'node:path';
import { writeFileAtomic } from '../../base/atomic-file.js';
import { FlashmoeError } from '../../base/errors.js';
import { blocksText } from '../../repack/blocks.js';
import { finishDense, writeLayout, type PackTarget } from '../../repack/pack.js';
import { contentSha256 } from '../../repack/verify.js';
import { fileSize } from '../../store/disk-sizes.js';
import {
  readManifest,
  writeManifest,
  type ModelManifest,
  type OwnedFile,
} from '../../store/manifest.js';
import { finalFiles, layerPath, manifestGguf, manifestUserFiles } from '../../store/model-files.js';
import { removeScratch } from '../../store/ownership.js';
import type { TransferTask } from '../../transfer/transfer-task.js';
import { hashFile } from '../../base/hash-file.js';

/** Both manifests, the model's own and a few journal lines. */
const RECORDS_BYTES = 1 << 20;

/** Every shard must have been used. Returns the manifest as it stands on disk, receipt and all. */
export async function finish(task: TransferTask): Promise<ModelManifest> {
  const { emit, budget, signal } = task;
  emit({ type: 'step', step: 'finish', status: 'started' });
  const need = (): Promise<number> => Promise.resolve(RECORDS_BYTES);
  const { manifest, unchanged } = await budget.patiently('the last files', need, signal, () =>
    writeLast(task),
  );
  emit({ type: 'step', step: 'finish', status: unchanged ? 'skipped' : 'done' });
  return manifest;
}

async function writeLast(
  task: TransferTask,
): Promise<{ manifest: ModelManifest; unchanged: boolean }> {
  const { paths, plan, journal } = task;
  const { pack } = plan.stored;
  const before = await readManifest(paths.manifest).catch(() => null);
  const dense = await finishedDense(task);
  const hashes = new Map([...plan.state.layers].map(([layer, { sha256 }]) => [layer, sha256]));
  await writeLayout(pack, hashes, { expertsDir: paths.experts(pack.quant) });
  await writeBlocks(task);
  // Nothing is running but us, the lock says so.
  await removeScratch(paths, plan.stored);

  const files = await ownedFiles(task, dense);
  const unchanged = JSON.stringify(before?.files) === JSON.stringify(files);
  const manifest: ModelManifest = {
    format: 'flashmoe-model',
    version: 1,
    model: plan.stored.model,
    repo: pack.repo,
    revision: plan.stored.revision,
    commit: pack.commit,
    quant: pack.quant,
    ...manifestGguf(plan.stored),
    fingerprint: pack.fingerprint,
    files,
    ...manifestUserFiles(plan.stored),
    finalBytes: files.reduce((sum, { size }) => sum + size, 0),
    contentSha256: contentSha256(files.filter(({ path }) => path.endsWith('.bin'))),
    receipt: unchanged ? (before?.receipt ?? null) : null,
  };
  if (!unchanged) await writeManifest(paths.manifest, manifest);
  if (!plan.state.finished) {
    await journal.append({ step: 'finished', at: new Date(task.now()).toISOString() });
  }
  return { manifest, unchanged };
}

/** sha256 of the dense file, which has its final name afterwards and its manifest beside it. */
async function finishedDense(task: TransferTask): Promise<string> {
  const { plan, paths, journal, addon, emit, signal, threads } = task;
  const { pack } = plan.stored;
  const { file, size: bytes } = pack.dense;
  const known = plan.state.denseFile;
  if (known !== null && (await fileSize(paths.denseManifest)) !== null) return known.sha256;
  const target: PackTarget = {
    addon,
    root: paths.root,
    expertsDir: paths.experts(pack.quant),
    shardPath: (shard) => join(paths.download, shard),
    threads,
    signal,
    onProgress: (done, total) => {
      emit({ type: 'progress', step: 'verify', item: file, done, total });
    },
  };
  const { sha256, chain } = await finishDense(pack, target);
  await journal.append({ step: 'dense-finished', file, bytes, sha256, chain });
  return sha256;
}

/** Of every packed file, unless an older version hashed one without its blocks: verify makes up for it. */
async function writeBlocks({ paths, plan }: TransferTask): Promise<void> {
  const { layers, denseFile } = plan.state;
  const chains = new Map<string, string[]>();
  for (const { file, chain } of [...layers.values(), ...(denseFile === null ? [] : [denseFile])]) {
    if (chain === undefined) return;
    chains.set(file, chain);
  }
  await writeFileAtomic(paths.blocks, blocksText(chains));
}

async function ownedFiles({ plan, paths }: TransferTask, dense: string): Promise<OwnedFile[]> {
  const { pack } = plan.stored;
  const known = new Map([...plan.state.copied.values()].map(({ file, sha256 }) => [file, sha256]));
  known.set(pack.dense.file, dense);
  for (const layer of pack.layers) {
    const sha256 = plan.state.layers.get(layer.layer)?.sha256;
    if (sha256 !== undefined) known.set(layerPath(paths, pack.quant, layer), sha256);
  }
  const hasBlocks = (await fileSize(paths.blocks)) !== null;
  const present = finalFiles(paths, plan.stored).filter(
    (path) => hasBlocks || path !== basename(paths.blocks),
  );
  return Promise.all(
    present.map(async (path) => {
      const absolute = join(paths.root, path);
      const size = await fileSize(absolute);
      if (size === null) {
        throw new FlashmoeError('ERR_MODEL_DAMAGED', `${absolute} vanished during the setup`, {
          hint: 'run the command again, it makes what is missing',
          resumable: true,
          subject: `${basename(dirname(absolute))}/${basename(absolute)}`,
        });
      }
      return { path, size, sha256: known.get(path) ?? (await hashFile(absolute)) };
    }),
  );
}
