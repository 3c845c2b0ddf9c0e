// flashmoe doctor: findings about machine and installation. Changes nothing.

import { EXIT } from '../../base/errors.js';
import { CHECKS } from '../../doctor/all-checks.js';
import { examine } from '../../doctor/run.js';
import { findingsText } from '../../ui/findings-view.js';
import { tableLines } from '../../ui/table.js';
import type { CliContext } from '../context.js';
import { doctorWorld } from '../doctor-world.js';

export interface DoctorArgs {
  list: boolean;
  /** Ids or groups of checks; empty for all. */
  only: string[];
}

export async function doctor(context: CliContext, args: DoctorArgs): Promise<number> {
  if (args.list) return list(context);
  const { signal } = context;
  const world = await doctorWorld(context);
  const only = args.only.length === 0 ? {} : { only: args.only };
  const report = await examine(CHECKS, world, { signal, ...only });
  if (context.json) context.emit('doctor', report);
  else context.print(findingsText(report.findings, context.style));
  return report.ok ? EXIT.done : EXIT.failed;
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
