// flashmoe bench [MODEL]: one pass after the page cache has forgotten the model, one with what the first left there.

import { execFile } from 'node:child_process';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { BackendName } from '../../addon/types.js';
import { EXIT, FlashmoeError } from '../../base/errors.js';
import { openNative, readOrigin } from '../../engine/open-native.js';
import { measureSpeed, type Speed } from '../../engine/speed.js';
import type { Quant } from '../../models/quant.js';
import { speedText, type SpeedReport } from '../../ui/speed-view.js';
import type { CliContext } from '../context.js';
import { chooseWidth, IO_THREADS } from '../../application/installed.js';
import { nativeAddon } from '../../application/native.js';
import { diskBytesRead, peakResidentBytes } from '../process-usage.js';
import { readSettings } from '../../settings/file.js';

export interface BenchArgs {
  model: string | null;
  prompt: number | null;
  decode: number | null;
  threads: number | null;
  experts: number | null;
  quant: Quant | null;
  backend: BackendName | null;
  directReads: boolean | null;
}

const PROMPT = 512;
const DECODE = 64;
const ALL_TOKENS = 2 ** 31 - 1;

export async function bench(context: CliContext, args: BenchArgs): Promise<number> {
  const { host, signal } = context;
  for (const [name, value] of Object.entries(args)) {
    if (value !== 0) continue;
    throw new FlashmoeError('ERR_USAGE', `--${name} 0: at least 1 is needed`);
  }
  const { id, paths, manifest } = await chooseWidth(context, args.model, args.quant);
  const store = { id, modelDir: paths.root, expertsDir: paths.experts(manifest.quant) };
  const { quant } = await readOrigin(store);
  // Before the engine maps the dense weights: what is mapped stays in the cache.
  const forgotten = await forget(context, [store.modelDir, store.expertsDir]);
  const threads = args.threads ?? host.cores;
  const settings = await readSettings(context.home.settings);
  const native = await openNative({
    addon: nativeAddon(context),
    ...store,
    threads,
    ioThreads: IO_THREADS,
    // Padding rows may be sampled, too: nobody reads the text.
    tokenLimit: ALL_TOKENS,
    ...(args.experts === null ? {} : { expertsPerToken: args.experts }),
    backend: args.backend ?? settings.backend ?? null,
    directReads: args.directReads ?? settings.directReads ?? false,
    signal,
  });
  try {
    const info = native.info();
    const decode = Math.min(args.decode ?? DECODE, info.maxPositions - 1);
    const prompt = Math.min(args.prompt ?? PROMPT, info.maxPositions - decode);
    const pass = (name: string): Promise<Speed> =>
      measureSpeed({
        native,
        prompt,
        decode,
        signal,
        diskBytes: diskBytesRead,
        monotonic: () => host.monotonic(),
        onProgress: (phase, done, total) => progress(context, `${name} ${phase}`, done, total),
      });
    const first = forgotten ? 'cold' : 'as found';
    const passes: SpeedReport['passes'] = [
      { name: first, speed: await pass(first) },
      { name: 'warm', speed: await pass('warm') },
    ];
    tell(context, {
      model: id,
      quant,
      backend: info.backend,
      isa: info.isa,
      cpu: host.cpuModel,
      threads,
      expertsPerToken: info.expertsPerToken,
      prompt,
      decode,
      denseBytes: info.denseBytes,
      stateBytes: info.stateBytes + info.kvBytesPerToken * (prompt + decode),
      peakResidentBytes: peakResidentBytes(),
      passes,
    });
    return EXIT.done;
  } finally {
    native.close();
  }
}

/** Asks the kernel to drop the files from its cache, as anybody may; false where there is no way to. */
async function forget(context: CliContext, folders: string[]): Promise<boolean> {
  if (context.host.platform !== 'linux') return false;
  const run = promisify(execFile);
  try {
    for (const folder of folders) {
      for (const entry of await readdir(folder, { withFileTypes: true })) {
        if (!entry.isFile()) continue;
        await run('dd', [`if=${join(folder, entry.name)}`, 'iflag=nocache', 'count=0']);
      }
    }
    return true;
  } catch (error) {
    // A `dd` that cannot: the first pass is then called what it is.
    context.note(`the page cache could not be emptied: ${String(error)}`);
    return false;
  }
}

function progress(context: CliContext, what: string, done: number, total: number): void {
  if (context.json) context.emit('progress', { step: 'bench', item: what, done, total });
  else if (context.stderr.isTTY) context.stderr.write(`\r\u001B[K${what} ${done} of ${total}\r`);
}

function tell(context: CliContext, report: SpeedReport): void {
  if (context.json) context.emit('bench', report);
  else {
    if (context.stderr.isTTY) context.stderr.write('\r\u001B[K');
    context.print(speedText(report, context.style, context.stdout.columns || 80));
  }
}
