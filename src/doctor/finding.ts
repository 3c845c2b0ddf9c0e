// What a check found, as data. Ids are stable: scripts and bug reports refer to them.

export const SEVERITIES = ['ok', 'info', 'warn', 'fail', 'skip'] as const;
export type Severity = (typeof SEVERITIES)[number];

/** What `--fix` can do about a finding. Never as another user, never to the files of a model. */
export interface Fix {
  /** What it does, as an imperative: "exclude the folder from Time Machine". */
  what: string;
  /** Program and arguments; `flashmoe` as program stands for this very installation. */
  command: readonly [string, ...string[]];
  /** Undone by one command and of no cost: `--yes` may run it unasked. */
  safe: boolean;
}

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
  fix?: Fix;
  /** Figures behind it, a line each: for reports and --json, and shown where it failed. */
  details?: readonly string[];
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
