// flashmoe bench --publish: what was measured as a row for docs/machines.md, and as the file that makes it.

import { mkdir } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { runJob } from '../../addon/load.js';
import type { NativeEngine } from '../../addon/types.js';
import { catalogueName, machineFacts } from '../../application/measuring.js';
import { nativeAddon } from '../../application/native.js';
import type { Ready } from '../../application/ready-models.js';
import { writeFileAtomic } from '../../base/atomic-file.js';
import type { Speed } from '../../engine/speed.js';
import { modelReportSchema } from '../../measure/machine-report.js';
import { modelSpeed, runOf } from '../../measure/measure-model.js';
import { speedRow } from '../../measure/report-text.js';
import type { SpeedReport } from '../../ui/speed-view.js';
import type { CliContext } from '../context.js';

export interface Published {
  ready: Ready;
  native: NativeEngine;
  prompt: number;
  decode: number;
  /** Measured already, with the engine's memory for experts. */
  passes: { name: SpeedReport['passes'][number]['name']; speed: Speed }[];
  /** Measures once more. */
  pass: (name: string) => Promise<Speed>;
  /** null: below the home. */
  where: string | null;
}

export async function publishSpeed(context: CliContext, published: Published): Promise<void> {
  const { ready, native, prompt, decode, passes, pass, where } = published;
  const { host, home, version, signal } = context;
  const runs = passes.map(({ name, speed }) => runOf(name, 'kept', speed));
  await runJob(native.resizeExperts(0), signal);
  runs.push(runOf('warm', 'not kept', await pass('without kept experts')));
  const { quant } = ready.manifest;
  const device =
    native.info().backend === 'metal' ? nativeAddon(context).metalDevice().device : null;
  const day = new Date(host.now()).toISOString().slice(0, 10);
  const report = modelReportSchema.parse({
    format: 'flashmoe-model-speed',
    schema: 1,
    version,
    day,
    machine: machineFacts(context, device),
    speed: modelSpeed(native.info(), { model: catalogueName(ready), quant, prompt, decode, runs }),
  });
  const path =
    where === null ? join(home.logs, `speed-${report.speed.model}-${day}.json`) : resolve(where);
  await mkdir(dirname(path), { recursive: true });
  await writeFileAtomic(path, `${JSON.stringify(report, null, 2)}\n`, 0o600);
  if (context.json) context.emit('published', { path, report });
  else {
    context.print(speedRow(report));
    context.note(`the same as a file, for a row in docs/machines.md: ${path}`);
  }
}
