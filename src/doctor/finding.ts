// What a check found, as data. Ids are stable: scripts and bug reports refer to them.

export const SEVERITIES = ['ok', 'info', 'warn', 'fail', 'skip'] as const;
export type Severity = (typeof SEVERITIES)[number];

export interface Finding {
  /** e.g. service.cellar_path; begins with the group of its check. */
  id: string;
  severity: Severity;
  /** What is so, in one line. */
  title: string;
  /** What it means for the user. */
  why?: string;
  /** One action: a command, or a sentence without full stop. */
  hint?: string;
}

/** The JSON form of a whole examination. */
export interface DoctorReport {
  /** Rises when a field changes its meaning or goes away. */
  schema: 1;
  version: string;
  findings: Finding[];
  counts: Record<Severity, number>;
  /** No finding is `fail`: exit status 0. */
  ok: boolean;
}
