// Jobs of the stand-in service managers are real processes.
import { spawn } from 'node:child_process';
import { appendFileSync, existsSync, openSync } from 'node:fs';
import { join } from 'node:path';

/**
 * Starts the job in a process group of its own; its pid, or null where the real manager could not. Like from the real
 * one it finds its user's home, and the manager itself where the machine has it.
 */
export function start({ command, cwd, env, stdout, stderr }) {
  if (!existsSync(command[0]) || !existsSync(cwd)) return null;
  const child = spawn(command[0], command.slice(1), {
    cwd,
    env: {
      HOME: process.env.HOME,
      ...env,
      PATH: `${join(process.env.STAND_IN_DIR, 'bin')}:${env.PATH ?? '/usr/bin:/bin'}`,
      STAND_IN_DIR: process.env.STAND_IN_DIR,
    },
    detached: true,
    stdio: ['ignore', openSync(stdout, 'a'), openSync(stderr, 'a')],
  });
  child.unref();
  // For the test to clean up.
  appendFileSync(join(process.env.STAND_IN_DIR, 'pids'), `${child.pid}\n`);
  return child.pid ?? null;
}
