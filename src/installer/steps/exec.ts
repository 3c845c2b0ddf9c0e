// Running another program for its answer. Injected, so a test can be a Mac.

import { execa } from 'execa';
import { FlashmoeError } from '../../base/errors.js';

export interface ExecResult {
  /** null: not found, killed, or out of time. */
  exitCode: number | null;
  stdout: string;
  stderr: string;
}

export interface ExecOptions {
  signal: AbortSignal;
  input?: string;
  cwd?: string;
  /** Added to the environment of this process. */
  env?: Record<string, string>;
  timeoutMs?: number;
}

export type Exec = (
  program: string,
  args: readonly string[],
  options: ExecOptions,
) => Promise<ExecResult>;

const TIMEOUT_MS = 60_000;

/** A failing or missing program is a result; ERR_INTERRUPTED after an abort. Messages come in English. */
export const exec: Exec = async (program, args, options) => {
  const { signal, input, cwd, env, timeoutMs = TIMEOUT_MS } = options;
  const result = await execa(program, args, {
    reject: false,
    input: input ?? '',
    env: { LC_ALL: 'C', ...env },
    timeout: timeoutMs,
    cancelSignal: signal,
    ...(cwd === undefined ? {} : { cwd }),
  });
  if (result.isCanceled) throw new FlashmoeError('ERR_INTERRUPTED', `${program} was interrupted`);
  return {
    exitCode: result.exitCode ?? null,
    stdout: result.stdout,
    stderr: result.stderr,
  };
};
