// Has a child process load an addon and answer with one line of JSON: what takes the child along takes the child only.

import { FlashmoeError } from '../base/errors.js';

export interface ProbeRun {
  /** The node to run it in. */
  node: string;
  args: readonly string[];
  timeoutMs: number;
}

/** What the child answered, or in words what became of it. Never throws but ERR_INTERRUPTED. */
export async function runProbe<Answer extends object>(
  program: string,
  { node, args, timeoutMs }: ProbeRun,
  signal: AbortSignal,
): Promise<Answer | string> {
  // Loaded where a process is started: most commands start none.
  const { execa } = await import('execa');
  const child = await execa(node, ['-e', program, ...args], {
    reject: false,
    stdin: 'ignore',
    timeout: timeoutMs,
    cancelSignal: signal,
    maxBuffer: 1024 * 1024,
  });
  if (child.isCanceled) {
    throw new FlashmoeError('ERR_INTERRUPTED', 'the test of the backend was interrupted');
  }
  if (child.timedOut) return `no answer within ${timeoutMs / 1000} s`;
  if (child.signal !== undefined) return `its process crashed with ${child.signal}`;
  if (child.exitCode !== 0) return child.stderr.trim().split('\n').at(-1) ?? 'no reason given';
  try {
    return JSON.parse(child.stdout.trim().split('\n').at(-1) ?? '') as Answer;
  } catch {
    return 'no answer that can be read';
  }
}
