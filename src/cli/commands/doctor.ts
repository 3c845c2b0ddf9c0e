// flashmoe doctor: findings about machine and installation. Changes nothing, unless --fix is told to.

import { EXIT } from '../../base/errors.js';
import { CHECKS, SELF_TEST } from '../../doctor/all-checks.js';
import type { DoctorReport } from '../../doctor/finding.js';
import { examine } from '../../doctor/run.js';
import { findingsText } from '../../ui/findings-view.js';
import { tableLines } from '../../ui/table.js';
import type { CliContext } from '../context.js';
import { doctorContext } from '../../application/doctor-context.js';

export interface DoctorArgs {
  list: boolean;
  /** Every operation of the engine against its reference, and nothing else. */
  selfTest: boolean;
  /** Ids or groups of checks; empty for all. */
  only: string[];
  /** A warning is a failure, too. */
  strict: boolean;
  fix: boolean;
  yes: boolean;
  /** Where the redacted report goes; true: below the home. */
  report: string | boolean;
  /** Another machine, in words. */
  sim: string | null;
}

export async function doctor(context: CliContext, args: DoctorArgs): Promise<number> {
  if (args.list) return list(context);
  if (args.sim !== null) {
    const { simulateMachine } = await import('./doctor-sim.js');
    return simulateMachine(context, args.sim);
  }
  const { signal } = context;
  const examined = await doctorContext(context);
  const only = args.only.length === 0 ? {} : { only: args.only };
  const report = await examine(args.selfTest ? SELF_TEST : CHECKS, examined, { signal, ...only });
  if (!context.json) context.print(findingsText(report.findings, context.style));
  if (args.report !== false) {
    const chosen = args.report === true ? null : args.report;
    const { writeReport } = await import('./doctor-report.js');
    await writeReport(context, report, chosen);
    if (args.selfTest) {
      const { measure } = await import('./doctor-measure.js');
      await measure(context, examined, chosen);
    }
  }
  if (args.fix) {
    const { applyFixes } = await import('./doctor-fix.js');
    await applyFixes(context, report.findings, args.yes);
  }
  if (context.json) context.emit('doctor', report);
  return status(report, args.strict);
}

function status({ counts }: DoctorReport, strict: boolean): number {
  return counts.fail > 0 || (strict && counts.warn > 0) ? EXIT.failed : EXIT.done;
}

function list(context: CliContext): number {
  const checks = CHECKS.map(({ id, title }) => ({ id, title }));
  if (context.json) {
    context.emit('checks', { checks });
    return EXIT.done;
  }
  const columns = [{ title: 'CHECK' }, { title: 'LOOKS AT' }];
  const rows = checks.map(({ id, title }) => [id, title]);
  for (const line of tableLines(columns, rows, 200)) context.print(line);
  return EXIT.done;
}
