// Findings of the doctor or of a machine check, as lines.

import type { Style } from './style.js';

export interface FindingView {
  id: string;
  severity: 'ok' | 'info' | 'warn' | 'fail' | 'skip';
  title: string;
  why?: string;
  hint?: string;
  details?: readonly string[];
}

/** A line a finding, its meaning and remedy below it; then one line that sums up. */
export function findingsText(findings: readonly FindingView[], style: Style): string {
  const lines = findings.flatMap(({ id, severity, title, why, hint, details = [] }) => [
    `${mark(severity, style)} ${title}${severity === 'ok' ? '' : style.dim(`  ${id}`)}`,
    ...(why === undefined || severity === 'ok' ? [] : [`    ${why}`]),
    ...(severity === 'fail' ? details.map((line) => `    ${line}`) : []),
    ...(hint === undefined ? [] : [`    hint: ${hint}`]),
  ]);
  return [...lines, '', summary(findings)].join('\n');
}

function mark(severity: FindingView['severity'], style: Style): string {
  const sign = style.glyph[severity];
  switch (severity) {
    case 'ok':
      return style.good(sign);
    case 'warn':
      return style.warn(sign);
    case 'fail':
      return style.bad(sign);
    case 'info':
    case 'skip':
      return style.dim(sign);
  }
}

function summary(findings: readonly FindingView[]): string {
  const count = (severity: string): number =>
    findings.filter((finding) => finding.severity === severity).length;
  const parts = [
    [count('fail'), 'to put right'],
    [count('warn'), 'to know of'],
    [count('skip'), 'not looked at'],
  ] as const;
  const rest = parts.filter(([number]) => number > 0).map(([number, what]) => `${number} ${what}`);
  const fine = findings.length - count('fail') - count('warn') - count('skip');
  return [`${fine} of ${findings.length} findings are fine`, ...rest].join(', ');
}
