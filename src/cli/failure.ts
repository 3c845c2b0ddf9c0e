// Anything thrown, as what the user reads and the status the shell sees.

import { asFlashmoeError, exitStatus, type ErrorCode, type FlashmoeError } from '../base/errors.js';
import { toNdjson } from '../ui/ndjson.js';

export interface Failure {
  code: ErrorCode;
  message: string;
  hint?: string;
  resumable: boolean;
  subject?: string;
  status: number;
}

export interface FailureFacts {
  /** Exit status of an interruption that came from outside; null when there was none. */
  interrupted: number | null;
  resumeCommand: string | null;
}

/** An abort surfaces under many names (AbortError, a cancelled native job): once a signal came, it is that signal. */
export function describeFailure(thrown: unknown, facts: FailureFacts): Failure {
  const error = asFlashmoeError(thrown);
  const aborted =
    error.code === 'ERR_INTERRUPTED' || (thrown as Error | null)?.name === 'AbortError';
  if (aborted && facts.interrupted !== null) {
    const why = error.code === 'ERR_INTERRUPTED' ? error.message : 'interrupted';
    const { code, status } = { code: 'ERR_INTERRUPTED', status: facts.interrupted } as const;
    // Whoever was interrupted may have said already what is kept and how to go on.
    if (error.hint !== undefined || facts.resumeCommand === null) {
      return withHint({ code, message: why, resumable: error.resumable, status }, error.hint);
    }
    const message = `${why}; what was done so far is kept`;
    const hint = `run \`${facts.resumeCommand}\` to go on from there`;
    return { code, message, hint, resumable: true, status };
  }
  const failure: Failure = {
    code: error.code,
    message: error.message,
    resumable: error.resumable,
    status: exitStatus(error.code),
    ...(error.subject === undefined ? {} : { subject: error.subject }),
  };
  const resume =
    error.resumable && facts.resumeCommand !== null
      ? `run \`${facts.resumeCommand}\` to go on from there`
      : undefined;
  return withHint(failure, error.hint ?? resume ?? internalHint(error));
}

function internalHint(error: FlashmoeError): string | undefined {
  return error.code === 'ERR_INTERNAL'
    ? 'this is a defect of flashmoe; FLASHMOE_DEBUG=1 with the same command shows where'
    : undefined;
}

function withHint(failure: Failure, hint: string | undefined): Failure {
  return hint === undefined ? failure : { ...failure, hint };
}

/** The last NDJSON line of a failed run. */
export function failureLine(failure: Failure, now: number): string {
  const { status, ...fields } = failure;
  return toNdjson('failed', { ...fields, exitStatus: status }, now);
}

/** Message, blank line, hint. */
export function failureText(failure: Failure): string {
  return failure.hint === undefined
    ? `${failure.message}\n`
    : `${failure.message}\n\nhint: ${failure.hint}\n`;
}
