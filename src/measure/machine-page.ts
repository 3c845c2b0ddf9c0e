// docs/machines.md: rows go to the end of the two tables, found by their column titles. Pure.

import type { MachineReport, ModelReport } from './machine-report.js';
import { machineRows, MACHINE_TITLES, MODEL_TITLES, speedRow } from './report-text.js';

/** Throws for a page without the tables, for a row that is there, and for a report that has nothing to add. */
export function addRows(
  page: string,
  report: MachineReport | ModelReport,
): { text: string; added: string[] } {
  const isMachine = report.format === 'flashmoe-machine';
  const { machine, models } = isMachine
    ? machineRows(report)
    : { machine: null, models: [speedRow(report)] };
  const additions: [titles: string, row: string][] = [
    ...(machine === null ? [] : ([[MACHINE_TITLES, machine]] as [string, string][])),
    ...models.map((row): [string, string] => [MODEL_TITLES, row]),
  ];
  const lines = page.split('\n');
  for (const [titles, row] of additions) {
    if (lines.includes(row)) throw new Error('this row is there already');
    const head = lines.indexOf(titles);
    if (head < 0) throw new Error(`the page has no table with the columns ${titles}`);
    let end = head + 2;
    while (lines[end]?.startsWith('|') === true) end += 1;
    lines.splice(end, 0, row);
  }
  return { text: lines.join('\n'), added: additions.map(([, row]) => row) };
}
