// Who listens on a port, as a person would name it. Best effort: no answer is an answer.

import { readdir, readFile, readlink } from 'node:fs/promises';
import { exec } from '../base/exec.js';

/** e.g. "node (pid 4711)"; null when it can't be found, e.g. another user's process. */
export async function portOwner(port: number): Promise<string | null> {
  return (await fromLsof(port)) ?? (await fromProc(port));
}

async function fromLsof(port: number): Promise<string | null> {
  const arguments_ = ['-nP', `-iTCP:${port}`, '-sTCP:LISTEN', '-Fpc'];
  const options = { signal: new AbortController().signal, timeoutMs: 3000 };
  const { stdout } = await exec('lsof', arguments_, options);
  const pid = /^p(\d+)$/m.exec(stdout)?.[1];
  const name = /^c(.+)$/m.exec(stdout)?.[1];
  return pid === undefined ? null : `${name ?? 'a process'} (pid ${pid})`;
}

/** Linux: the listening socket's inode, then the process that has it open. */
async function fromProc(port: number): Promise<string | null> {
  const tables = await Promise.all(
    ['/proc/net/tcp', '/proc/net/tcp6'].map((path) => readFile(path, 'utf8').catch(() => '')),
  );
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  const rows = tables
    .join('\n')
    .split('\n')
    .map((line) => line.trim().split(/\s+/));
  // Columns of proc(5): local address, state (0A is LISTEN), inode.
  const row = rows.find((columns) => columns[1]?.endsWith(suffix) === true && columns[3] === '0A');
  const socket = `socket:[${row?.[9] ?? ''}]`;
  if (row === undefined) return null;
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    for (const fd of await readdir(`/proc/${pid}/fd`).catch(() => [])) {
      const target = await readlink(`/proc/${pid}/fd/${fd}`).catch(() => '');
      if (target !== socket) continue;
      const name = await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => 'a process');
      return `${name.trim()} (pid ${pid})`;
    }
  }
  return null;
}
