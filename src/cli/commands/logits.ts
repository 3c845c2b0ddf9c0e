// flashmoe logits MODEL_OR_DIR: numbers for bug reports and comparisons, from a provisioned model or from a
// folder in MLX layout, which is packed into a temporary store that goes when the command ends.

import { readFile, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { inTemporaryFolder } from '../../base/temporary-folder.js';
import { asFlashmoeError, EXIT, FlashmoeError } from '../../base/errors.js';
import { formatBytes } from '../../base/format.js';
import { writeLogits, type LogitsWritten } from '../../engine/logits.js';
import { openNative, readOrigin } from '../../engine/open-native.js';
import type { LogitsOptions } from '../../settings/measuring-options.js';
import { packDirectory } from '../../repack/pack-directory.js';
import type { CliContext } from '../context.js';
import { chooseWidth, IO_THREADS } from '../../application/installed.js';
import { readyInstallations } from '../../application/ready-models.js';
import { nativeAddon } from '../../application/native.js';
import { readSettings } from '../../settings/file.js';

export interface LogitsArgs extends LogitsOptions {
  target: string;
}

/** As they are typed here, for comparing with other programs' names. */
const WIDTHS = { q4: '4bit', q2: '2bit' } as const;

interface Store {
  id: string;
  modelDir: string;
  expertsDir: string;
}

export async function logits(context: CliContext, args: LogitsArgs): Promise<number> {
  const out = resolve(args.out);
  if (!(await isFolder(dirname(out)))) {
    throw new FlashmoeError('ERR_USAGE', `${dirname(out)}: there is no such folder to write to`);
  }
  const tokens = await readTokens(args.tokens);
  if (await isSource(context, args.target)) {
    await withPacked(context, args, (store) => compute(context, args, store, tokens, out));
  } else {
    const { id, paths, manifest } = await chooseWidth(
      context,
      args.target,
      args.quant && WIDTHS[args.quant],
    );
    const store = { id, modelDir: paths.root, expertsDir: paths.experts(manifest.quant) };
    await compute(context, args, store, tokens, out);
  }
  return EXIT.done;
}

/** A name that is provisioned wins over a folder of that name; what holds a slash is no name. */
async function isSource(context: CliContext, target: string): Promise<boolean> {
  const names = (await readyInstallations(context.home)).flatMap(({ id, manifest }) => [
    id,
    manifest.model,
  ]);
  if (names.includes(target)) return false;
  if (await isFolder(target)) return true;
  if (!target.includes('/')) return false;
  throw new FlashmoeError('ERR_USAGE', `${target}: there is no such folder`, { subject: target });
}

async function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
}

async function withPacked(
  context: CliContext,
  { target, quant }: LogitsArgs,
  use: (store: Store) => Promise<void>,
): Promise<void> {
  const { host, signal } = context;
  try {
    await inTemporaryFolder(host, 'logits', async (folder) => {
      const { modelDir, expertsDir } = await packDirectory(resolve(target), join(folder, 'store'), {
        addon: nativeAddon(context),
        quant: WIDTHS[quant ?? 'q4'],
        threads: host.cores,
        signal,
      });
      await use({ id: basename(resolve(target)), modelDir, expertsDir });
    });
  } catch (thrown) {
    const error = asFlashmoeError(thrown);
    if (error.code !== 'ERR_DISK_FULL') throw error;
    const where = `${host.temporaryDirectory} has no room for a packed copy of ${target}`;
    throw new FlashmoeError('ERR_DISK_FULL', `${where}; what was written there is deleted`, {
      hint: 'set TMPDIR to a folder on a larger volume',
      cause: error,
    });
  }
}

async function compute(
  context: CliContext,
  { experts, backend: wanted, cache: typed }: LogitsArgs,
  { id, modelDir, expertsDir }: Store,
  tokens: number[],
  target: string,
): Promise<void> {
  const { host, signal } = context;
  const started = host.monotonic();
  const { repo, revision, quant } = await readOrigin({ id, modelDir, expertsDir });
  const settings = await readSettings(context.home.settings);
  const cache = typed ?? '16bit';
  const native = await openNative({
    // Only the CPU has f32 caches: whoever asks for them and names no backend means it.
    backend: wanted ?? (cache === 'f32' ? 'cpu' : (settings.backend ?? null)),
    cache,
    addon: nativeAddon(context),
    id,
    modelDir,
    expertsDir,
    threads: host.cores,
    ioThreads: IO_THREADS,
    // Nothing is sampled.
    tokenLimit: 0,
    ...(experts === null ? {} : { expertsPerToken: experts }),
    signal,
  });
  try {
    const { expertsPerToken, backend, isa } = native.info();
    const about = {
      model: id,
      ...{ repo, revision, quant },
      experts_per_token: String(expertsPerToken),
      engine: `flashmoe ${context.version}, ${backend}, ${isa}`,
      cache,
    };
    const onProgress = (done: number, total: number): void => progress(context, id, done, total);
    const options = { native, tokens, target, about, signal, onProgress };
    const written = await writeLogits(options);
    tell(context, target, about, written, (host.monotonic() - started) / 1000);
  } finally {
    native.close();
  }
}

/** `[1, 2]`, or an object that has them as `input_ids`; a batch of one is taken out of its array. */
async function readTokens(path: string): Promise<number[]> {
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new FlashmoeError('ERR_USAGE', `${path} cannot be read`, { cause, subject: path });
  });
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new FlashmoeError('ERR_USAGE', `${path}: not JSON`, { cause, subject: path });
  }
  if (typeof value === 'object' && value !== null && 'input_ids' in value) value = value.input_ids;
  if (Array.isArray(value) && value.length === 1 && Array.isArray(value[0])) value = value[0];
  if (Array.isArray(value) && value.every((id) => typeof id === 'number')) return value;
  throw new FlashmoeError('ERR_USAGE', `${path}: not an array of token ids`, {
    hint: 'for example [1, 2, 3] or {"input_ids": [1, 2, 3]}',
    subject: path,
  });
}

function progress(context: CliContext, item: string, done: number, total: number): void {
  if (context.json) context.emit('progress', { step: 'logits', item, done, total });
  else if (context.stderr.isTTY) {
    context.stderr.write(`\r\u001B[K${done === total ? '' : `${done} of ${total} positions`}`);
  }
}

function tell(
  context: CliContext,
  file: string,
  about: Record<string, string>,
  { positions, vocabSize, bytes }: LogitsWritten,
  seconds: number,
): void {
  if (context.json) {
    context.emit('logits', { file, shape: [positions, vocabSize], bytes, seconds, ...about });
    return;
  }
  context.print(file);
  context.note(`logits [${positions}, ${vocabSize}], ${formatBytes(bytes)}`);
}
