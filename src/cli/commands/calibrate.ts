// flashmoe calibrate [MODEL]: a text through the model, and a file that a setup weighs two-bit errors by.

import { readFile, stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { writeFileAtomic } from '../../base/atomic-file.js';
import { entryForRepo } from '../../models/catalog.js';
import { EXIT, FlashmoeError } from '../../base/errors.js';
import { formatBytes } from '../../base/format.js';
import { observeTexts } from '../../engine/calibrate.js';
import { openNative } from '../../engine/open-native.js';
import { PromptWorker } from '../../engine/prompt-worker/worker.js';
import { parseConversations } from '../../eval/records.js';
import type { Quant } from '../../models/quant.js';
import { CALIBRATION_TOKENS, type CalibrateOptions } from '../../settings/measuring-options.js';
import { calibrationBytes } from '../../repack/calibration.js';
import { commandLine } from '../../application/command-line.js';
import type { CliContext } from '../context.js';
import { chooseWidth, IO_THREADS } from '../../application/installed.js';
import { nativeAddon } from '../../application/native.js';
import { readSettings } from '../../settings/file.js';

export interface CalibrateArgs extends CalibrateOptions {
  model: string | null;
}

const MOST_TEXT = 256 << 20;

export async function calibrate(context: CliContext, args: CalibrateArgs): Promise<number> {
  const { host, signal } = context;
  const texts = await Promise.all(
    args.text.map(async (path) => ({ path, text: await readText(path) })),
  );
  const { id, paths, manifest } = await chooseWidth(context, args.model, args.quant);
  const out = resolve(args.out ?? `${id}.calibration.safetensors`);
  if (await isThere(out)) {
    throw new FlashmoeError('ERR_USAGE', `${out} is there already; it was left as it is`, {
      hint: 'name another file with --out',
      subject: '--out',
    });
  }
  const started = host.monotonic();
  const encoded = await encodeAll(texts, paths.root);
  const settings = await readSettings(context.home.settings);
  const native = await openNative({
    ...{ addon: nativeAddon(context), id, modelDir: paths.root, signal },
    ...{ expertsDir: paths.experts(manifest.quant), threads: host.cores, ioThreads: IO_THREADS },
    ...{ tokenLimit: 0, backend: args.backend ?? settings.backend ?? null },
  });
  try {
    const { layers, tokens } = await observeTexts({
      ...{ native, texts: encoded, signal },
      mostTokens: args.tokens ?? CALIBRATION_TOKENS,
      onProgress: (done, total) => progress(context, id, done, total),
    });
    const { repo, commit, quant } = manifest;
    const bytes = calibrationBytes(layers, { repo, commit, tokens });
    await writeFileAtomic(out, bytes);
    const seconds = (host.monotonic() - started) / 1000;
    tell(context, { file: out, model: id, quant, tokens, bytes: bytes.length, seconds }, repo);
  } finally {
    native.close();
  }
  return EXIT.done;
}

async function readText(path: string): Promise<string> {
  try {
    const { size } = await stat(path);
    if (size > MOST_TEXT) throw new Error(`${formatBytes(size)} are more than a calibration needs`);
    return await readFile(path, 'utf8');
  } catch (cause) {
    throw new FlashmoeError('ERR_USAGE', `${path} cannot be read: ${(cause as Error).message}`, {
      subject: '--text',
      cause,
    });
  }
}

async function encodeAll(
  texts: readonly { path: string; text: string }[],
  modelDir: string,
): Promise<number[][]> {
  const prompts = await PromptWorker.open({ files: modelDir });
  try {
    const encoded: number[][] = [];
    for (const { path, text } of texts) encoded.push(await encode(path, text, prompts));
    return encoded;
  } finally {
    await prompts.close();
  }
}

/** Conversations as the model reads them, one after the other; anything else is plain text. */
async function encode(path: string, text: string, prompts: PromptWorker): Promise<number[]> {
  if (!path.endsWith('.jsonl')) return await prompts.encodeText(text);
  const ids: number[] = [];
  for (const conversation of parseConversations(path, text)) {
    for (const id of (await prompts.prompt({ ...conversation, thinking: null })).ids) ids.push(id);
  }
  return ids;
}

function isThere(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

function progress(context: CliContext, item: string, done: number, total: number): void {
  if (context.json) context.emit('progress', { step: 'calibrate', item, done, total });
  else if (context.stderr.isTTY) {
    context.stderr.write(`\r\u001B[K${done === total ? '' : `${done} of ${total} tokens`}`);
  }
}

interface Calibrated {
  file: string;
  model: string;
  quant: Quant;
  tokens: number;
  bytes: number;
  seconds: number;
}

function tell(context: CliContext, made: Calibrated, repo: string): void {
  if (context.json) {
    context.emit('calibrated', { ...made });
    return;
  }
  context.print(made.file);
  const { tokens, bytes, seconds } = made;
  context.note(`${tokens} tokens, ${formatBytes(bytes)}, ${seconds.toFixed(1)} s`);
  const known = entryForRepo(repo);
  const source = known === null ? ['--repo', repo] : [known.id];
  const words = ['setup', ...source, '--quant', '2bit', '--calibration', made.file];
  context.note(`next: \`${commandLine(words)}\``);
}
