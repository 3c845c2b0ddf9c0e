// Running another program for its answer. Injected where a test gains from being another machine.

import { FlashmoeError } from './errors.js';

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
  env?: Readonly<Record<string, string | undefined>>;
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
  // 90 ms of import that no other command should pay for.
  const { execa } = await import('execa');
  const result = await execa(program, args, {
    reject: false,
    input: input ?? '',
    env: { ...env, LC_ALL: 'C' },
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
