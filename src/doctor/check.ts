import type { Finding } from './finding.js';
import type { DoctorContext } from './context.js';

/** One examination. It changes nothing on the machine, and answers with at least one finding. */
export interface Check {
  /** group.name; `--only` takes it, or the group alone. */
  id: string;
  /** What it looks at, for `--list`. */
  title: string;
  /** Milliseconds after which it counts as hung. */
  timeoutMs: number;
  /** Runs when all others have ended, and beside none: it measures, or takes the machine for itself. */
  alone?: true;
  run(context: DoctorContext, signal: AbortSignal): Promise<Finding[]>;
}
