// flashmoe doctor --self-test --report: after the test, what this machine measures of itself, as a table and a file to give away.

import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { machineFacts, machineMeasurements } from '../../application/measuring.js';
import { writeFileAtomic } from '../../base/atomic-file.js';
import type { DoctorContext } from '../../doctor/context.js';
import { machineReportSchema } from '../../measure/machine-report.js';
import { measureMachine } from '../../measure/measure-machine.js';
import { reportMarkdown } from '../../measure/report-text.js';
import { terminalText } from '../../base/terminal-text.js';
import type { CliContext } from '../context.js';

/** `chosen`: where the report of the test goes; the measurements stand beside it. Does nothing without an engine to measure. */
export async function measure(
  context: CliContext,
  doctor: DoctorContext,
  chosen: string | null,
): Promise<void> {
  const { host, home, signal, version } = context;
  const addon = doctor.addonPaths.find((path) => existsSync(path));
  if (addon === undefined) return;
  const answer = await doctor.probeDevice(addon, signal);
  const day = new Date(host.now()).toISOString().slice(0, 10);
  const measured = await measureMachine(await machineMeasurements(context, doctor, addon), {
    ...{ version, day, signal },
    machine: machineFacts(context, answer.device),
    monotonic: () => host.monotonic(),
    onProgress: (step, steps, what) => progress(context, step, steps, what),
  });
  // What leaves the house is held against its schema before, not after.
  const report = machineReportSchema.parse(measured);
  const path =
    chosen === null
      ? join(home.logs, `machine-${day}.json`)
      : `${resolve(chosen).replace(/\.json$/, '')}-machine.json`;
  await mkdir(dirname(path), { recursive: true });
  await writeFileAtomic(path, `${JSON.stringify(report, null, 2)}\n`, 0o600);
  if (context.json) context.emit('measured', { path, report });
  else {
    context.print('');
    for (const line of reportMarkdown(report).trimEnd().split('\n'))
      context.print(terminalText(line));
    context.note(`measurements for docs/machines.md: ${path}`);
  }
}

function progress(context: CliContext, step: number, steps: number, what: string): void {
  if (context.json)
    context.emit('progress', { step: 'measure', item: what, done: step, total: steps });
  else context.note(`measuring ${String(step)} of ${String(steps)}: ${what}`);
}
