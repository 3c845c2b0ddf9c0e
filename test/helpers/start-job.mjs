// Jobs of the stand-in service managers are real processes.
import { spawn } from 'node:child_process';
import { appendFileSync, existsSync, openSync } from 'node:fs';
import { join } from 'node:path';

/** Starts the job in a process group of its own; its pid, or null where the real manager could not. */
export function start({ command, cwd, env, stdout, stderr }) {
  if (!existsSync(command[0]) || !existsSync(cwd)) return null;
  const child = spawn(command[0], command.slice(1), {
    cwd,
    env,
    detached: true,
    stdio: ['ignore', openSync(stdout, 'a'), openSync(stderr, 'a')],
  });
  child.unref();
  // For the test to clean up.
  appendFileSync(join(process.env.STAND_IN_DIR, 'pids'), `${child.pid}\n`);
  return child.pid ?? null;
}
