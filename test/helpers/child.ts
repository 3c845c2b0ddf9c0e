// Real child processes of programs that the tests are: built before they start, so that a busy machine starts them soon.

import { spawn, type ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { builtProgram } from './built-program.js';

export interface Program {
  process: ChildProcess;
  /** The next line of stdout; rejects with stderr when the process ends before. */
  line(): Promise<string>;
  /** Exit status or signal name, after both streams have ended. */
  ended: Promise<number | NodeJS.Signals>;
  stderr(): string;
}

/** Starts `program` (a .ts or .mjs file) with an IPC-free pipe on all three streams. */
export function start(
  program: string | URL,
  args: readonly string[] = [],
  env: Record<string, string> = {},
): Program {
  const path = typeof program === 'string' ? program : fileURLToPath(program);
  const child = spawn(process.execPath, [builtProgram(path), ...args], {
    env: { ...process.env, ...env },
    stdio: 'pipe',
  });
  let errors = '';
  let rest = '';
  const lines: string[] = [];
  const waiting: { resolve: (line: string) => void; reject: (error: Error) => void }[] = [];
  child.stderr.setEncoding('utf8').on('data', (text: string) => (errors += text));
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    const parts = (rest + text).split('\n');
    rest = parts.pop() ?? '';
    for (const part of parts) {
      const next = waiting.shift();
      if (next === undefined) lines.push(part);
      else next.resolve(part);
    }
  });
  let over = false;
  const ended = new Promise<number | NodeJS.Signals>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => {
      over = true;
      for (const { reject: fail } of waiting.splice(0)) fail(new Error(`ended: ${errors}`));
      resolve(code ?? signal ?? 1);
    });
  });
  return {
    process: child,
    ended,
    stderr: () => errors,
    line: () =>
      new Promise((resolve, reject) => {
        const ready = lines.shift();
        if (ready !== undefined) resolve(ready);
        else if (over) reject(new Error(`ended: ${errors}`));
        else waiting.push({ resolve, reject });
      }),
  };
}
