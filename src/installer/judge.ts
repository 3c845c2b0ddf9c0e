// A finished model is asked, and what came of it goes into its manifest. Setup ends with this; verify and doctor do it for
// models that nobody has judged yet.

import { basename, join } from 'node:path';
import { checkModel, type Checked } from '../check/check-model.js';
import { FlashmoeError } from '../base/errors.js';
import type { Host } from '../base/host.js';
import type { ModelPaths } from '../base/paths.js';
import type { Engine } from '../engine/types.js';
import type { TokensQuestion } from '../models/smoke.js';
import { fileSize } from '../store/disk-sizes.js';
import { writeManifest, type ModelManifest } from '../store/manifest.js';
import type { CheckReport, KnownAnswer } from '../store/receipt.js';

export interface JudgeTask {
  /** As messages name it, and as commands take it. */
  id: string;
  manifest: ModelManifest;
  paths: ModelPaths;
  open: (signal: AbortSignal) => Promise<Engine>;
  /** The engine is somebody else's, who goes on with it. */
  lent?: boolean;
  /** Known answers of this very checkpoint; none: the questions for any model are asked. */
  questions: readonly TokensQuestion[];
  host: Pick<Host, 'memoryBytes' | 'now' | 'monotonic'>;
  /** Measured uncached reads of expert size; null when nobody measured. */
  diskBytesPerSecond: number | null;
  onAnswer: (answer: KnownAnswer) => void;
  signal: AbortSignal;
}

export interface Judged extends Checked {
  /** As it stands on disk now: of a model that failed the receipt is gone. */
  manifest: ModelManifest;
}

/** Throws ERR_MODEL_DAMAGED for a file that is not there, and what the engine throws; a wrong answer is no error. */
export async function judgeModel(task: JudgeTask): Promise<Judged> {
  const { manifest, paths, host, questions, diskBytesPerSecond, onAnswer, signal } = task;
  await requireFiles(task);
  const experts = basename(paths.experts(manifest.quant));
  const engine = await task.open(signal);
  let checked: Checked;
  try {
    checked = await checkModel({
      engine,
      quant: manifest.quant,
      contentSha256: manifest.contentSha256,
      questions,
      expertsBytes: manifest.files
        .filter(({ path }) => path.startsWith(`${experts}/`))
        .reduce((sum, { size }) => sum + size, 0),
      memoryBytes: host.memoryBytes,
      now: () => host.now(),
      monotonic: () => host.monotonic(),
      ...{ diskBytesPerSecond, onAnswer, signal },
    });
  } finally {
    if (task.lent !== true) await engine.close();
  }
  const { report } = checked;
  const failed = report.verdict === 'failed';
  const judged = { ...manifest, receipt: failed ? null : manifest.receipt, check: report };
  await writeManifest(paths.manifest, judged);
  return { ...checked, manifest: judged };
}

/** Every file of the manifest, there and whole by size: an engine that skipped one would still talk. */
async function requireFiles({ id, manifest, paths }: JudgeTask): Promise<void> {
  for (const { path, size } of manifest.files) {
    const found = await fileSize(join(paths.root, path));
    if (found === size) continue;
    const what = found === null ? 'is missing' : `has ${found} bytes instead of ${size}`;
    throw new FlashmoeError('ERR_MODEL_DAMAGED', `${join(paths.root, path)} ${what}`, {
      hint: `run \`flashmoe setup ${id}\`, it makes the file anew`,
      resumable: true,
      subject: path,
    });
  }
}

export function refusal(id: string, { reasons, answers }: CheckReport): FlashmoeError {
  const wrong = answers
    .filter(({ ok }) => !ok)
    .map(({ name, answer, expected }) => `${name}: expected ${expected}, got ${answer}`);
  return new FlashmoeError(
    'ERR_KNOWN_ANSWER',
    `${id} does not answer as it must, so it must not be trusted; its files were kept\n  ` +
      [...reasons, ...wrong].join('\n  '),
    { hint: `run \`flashmoe verify ${id}\` to look for a damaged file and ask again` },
  );
}
