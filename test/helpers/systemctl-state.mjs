// What the stand-in systemctl remembers between calls, and its record of them.
import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const directory = process.env.STAND_IN_DIR;
const file = join(directory, 'state', 'units.json');

export const args = process.argv.slice(2);
appendFileSync(join(directory, 'calls'), `${args.join(' ')}\n`);
const switches = { bus: existsSync(join(directory, 'state', 'bus')) };
const units = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : {};
export const state = { ...switches, jobs: units };

export function leave(status, { out = '', err = '' } = {}) {
  writeFileSync(file, JSON.stringify(state.jobs));
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
