// flashmoe bench [MODEL]: one pass after the page cache has forgotten the model, one with what the first left there.

import { EXIT } from '../../base/errors.js';
import { readOrigin } from '../../engine/open-native.js';
import { measureSpeed, type Speed } from '../../engine/speed.js';
import type { BenchOptions } from '../../settings/measuring-options.js';
import { speedText, type SpeedReport } from '../../ui/speed-view.js';
import type { CliContext } from '../context.js';
import { chooseWidth } from '../../application/installed.js';
import { openToMeasure } from '../../application/open-to-measure.js';
import { diskBytesRead, peakResidentBytes } from '../../base/process-usage.js';

export interface BenchArgs extends BenchOptions {
  model: string | null;
  /** Also a row for the table of machines; true: below the home. */
  publish: string | boolean;
}

const PROMPT = 512;
const DECODE = 64;

export async function bench(context: CliContext, args: BenchArgs): Promise<number> {
  const { host, signal } = context;
  const ready = await chooseWidth(context, args.model, args.quant);
  const { id, paths, manifest } = ready;
  const expertsDir = paths.experts(manifest.quant);
  const { quant } = await readOrigin({ id, modelDir: paths.root, expertsDir });
  const { native, plan, threads, isCold } = await openToMeasure(context, ready, args, signal);
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
    const first = isCold ? 'cold' : 'as found';
    const passes: { name: SpeedReport['passes'][number]['name']; speed: Speed }[] = [
      { name: first, speed: await pass(first) },
      { name: 'warm', speed: await pass('warm') },
    ];
    if (args.publish !== false) {
      const { publishSpeed } = await import('./bench-publish.js');
      const where = args.publish === true ? null : args.publish;
      await publishSpeed(context, { ready, native, prompt, decode, passes, pass, where });
    }
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
      experts: { mode: plan.mode, bytes: plan.expertBytes },
      passes,
    });
    return EXIT.done;
  } finally {
    native.close();
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
