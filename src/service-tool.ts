// Running a service manager's own command. No domain beyond that: arguments in, status and text out.

import { FlashmoeError } from './base/errors.js';

export interface ToolResult {
  exitCode: number;
  stdout: string;
  stderr: string;
}

export type RunTool = (args: readonly string[], signal: AbortSignal) => Promise<ToolResult>;

/** Seconds of silence after which a manager is taken for hung. */
const TOOL_TIMEOUT_S = 60;

/**
 * A command found on `env.PATH`, run with `env` and messages in English. A non-zero status is a result;
 * ERR_SERVICE when it is missing, hangs or dies by a signal, ERR_INTERRUPTED after an abort.
 */
export function toolRunner(
  command: string,
  env: Readonly<Record<string, string | undefined>>,
): RunTool {
  return async (args, signal) => {
    // 90 ms of import that no other command should pay for.
    const { execa } = await import('execa');
    const result = await execa(command, args, {
      env: { ...env, LC_ALL: 'C' },
      extendEnv: false,
      reject: false,
      stdin: 'ignore',
      timeout: TOOL_TIMEOUT_S * 1000,
      cancelSignal: signal,
    });
    if (result.isCanceled) throw new FlashmoeError('ERR_INTERRUPTED', `${command} was interrupted`);
    if (result.exitCode === undefined) {
      const why = result.timedOut
        ? `did not answer within ${TOOL_TIMEOUT_S} s`
        : (result.cause as NodeJS.ErrnoException | undefined)?.code === 'ENOENT'
          ? 'is not on PATH'
          : `ended by ${result.signal ?? 'an unknown cause'}`;
      throw new FlashmoeError('ERR_SERVICE', `${command} ${why}`, {
        cause: result.cause,
        subject: command,
      });
    }
    return { exitCode: result.exitCode, stdout: result.stdout, stderr: result.stderr };
  };
}
