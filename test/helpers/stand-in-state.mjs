// Shared by the stand-ins: state in a file, a record of calls, and jobs that are real processes.
import { spawn } from 'node:child_process';
import { appendFileSync, existsSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const directory = process.env.STAND_IN_DIR;
const file = join(directory, 'state.json');

export const args = process.argv.slice(2);
appendFileSync(join(directory, 'calls.ndjson'), `${JSON.stringify(args)}\n`);
export const state = { jobs: {}, ...JSON.parse(readFileSync(file, 'utf8')) };

export function leave(status, { out = '', err = '' } = {}) {
  writeFileSync(file, JSON.stringify(state));
  if (out) process.stdout.write(`${out}\n`);
  if (err) process.stderr.write(`${err}\n`);
  process.exit(status);
}

export function isAlive(pid) {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return error.code === 'EPERM';
  }
  // In a container without a reaping init an ended job stays as a zombie, which still takes signals.
  const status = `/proc/${pid}/status`;
  return !existsSync(status) || !/^State:\s+Z/m.test(readFileSync(status, 'utf8'));
}

/** Starts the job in a process group of its own; its pid, or null where the manager could not. */
export function start({ command, cwd, env, stdout, stderr }) {
  if (!existsSync(command[0]) || !existsSync(cwd)) return null;
  const child = spawn(command[0], command.slice(1), {
    cwd,
    env,
    detached: true,
    stdio: ['ignore', openSync(stdout, 'a'), openSync(stderr, 'a')],
  });
  child.unref();
  return child.pid ?? null;
}
