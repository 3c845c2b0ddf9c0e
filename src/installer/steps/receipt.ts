// The end of a setup: the model proves itself, and the receipt goes into its manifest.

import { FlashmoeError } from '../../base/errors.js';
import type { Engine } from '../../engine/types.js';
import type { Emit } from '../../jobs/events.js';
import type { Receipt } from '../../store/receipt.js';
import { writeManifest, type ModelManifest } from '../../store/manifest.js';
import { installationId } from '../../store/model-files.js';
import type { ModelToOpen, PlannedSetup } from '../setup-context.js';
import type { TransferTask } from '../../transfer/transfer-task.js';
import { measureDiskRate } from './disk-rate.js';
import { firstAnswers } from './first-answer.js';

/** Expert reads under way at once; the disk's queue, not the processor, sets it. */
const IO_THREADS = 8;

/** A model that the GPU lacks something for proves its bytes on the CPU: what a night has fetched is not lost for that. */
async function openToProve(
  context: PlannedSetup['context'],
  model: ModelToOpen,
  emit: Emit,
): Promise<Engine> {
  try {
    return await context.openEngine(model);
  } catch (thrown) {
    if (!(thrown instanceof FlashmoeError) || thrown.code !== 'ERR_UNSUPPORTED_MODEL') throw thrown;
    const engine = await context.openEngine({ ...model, backend: 'cpu' });
    const way = 'run and serve compute it with `--backend cpu`';
    emit({ type: 'notice', message: `${thrown.message}; the CPU answers here, and ${way}` });
    return engine;
  }
}

/** Answers first, then the receipt into the manifest; a model that gives wrong ones has none. */
export async function proveAndReceipt(
  { request, context, paths }: PlannedSetup,
  { emit, signal, addon, threads, now }: TransferTask,
  manifest: ModelManifest,
  run: Pick<
    Receipt,
    'startedAt' | 'downloadedBytes' | 'neededBytes' | 'peakBytes' | 'weightErrors'
  >,
): Promise<Receipt> {
  const { model, repo, commit, quant, fingerprint, finalBytes, contentSha256 } = manifest;
  const expertsDir = paths.experts(quant);
  const toOpen = { addon, id: model, modelDir: paths.root, expertsDir, threads };
  const diskBytesPerSecond = await measureDiskRate(addon, manifest, paths, { seed: now(), signal });
  const judged = await firstAnswers({
    id: installationId(model, quant),
    questions: request.questions,
    open: (at) => openToProve(context, { ...toOpen, ioThreads: IO_THREADS, signal: at }, emit),
    host: context.host,
    ...{ manifest, paths, diskBytesPerSecond, emit, signal },
  });
  const { report: check, tokensPerSecond } = judged;
  const proven = { answers: check.answers, check, tokensPerSecond, diskBytesPerSecond };
  if (manifest.receipt !== null) return { ...manifest.receipt, ...proven };
  const receipt: Receipt = {
    ...{ schema: 1, model, repo, commit, quant, fingerprint, directory: paths.root },
    ...(manifest.file !== undefined && { file: manifest.file }),
    ...(manifest.expertTypes && { expertTypes: manifest.expertTypes }),
    ...(manifest.userFiles && { userFiles: manifest.userFiles }),
    ...{ finalBytes, contentSha256 },
    ...run,
    finishedAt: new Date(now()).toISOString(),
    ...proven,
  };
  await writeManifest(paths.manifest, { ...judged.manifest, receipt });
  return receipt;
}
