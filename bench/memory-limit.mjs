// Runs a command under a memory limit that counts page cache too, so that a model larger than memory can be
// measured on a large machine. Needs root and cgroup v1 or v2; says so where it can't be made.
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, rmdirSync, writeFileSync } from 'node:fs';

/** @returns {{run(args: string[], seconds: number): Promise<object>, close(): void}} throws with the reason when no limit can be set */
export function memoryLimit(bytes) {
  const v1 = existsSync('/sys/fs/cgroup/memory/memory.limit_in_bytes');
  const group = v1
    ? `/sys/fs/cgroup/memory/flashmoe-bench-${process.pid}`
    : `/sys/fs/cgroup/flashmoe-bench-${process.pid}`;
  mkdirSync(group);
  writeFileSync(`${group}/${v1 ? 'memory.limit_in_bytes' : 'memory.max'}`, String(bytes));
  return {
    run: (args, seconds) =>
      runJson(['sh', '-c', `echo $$ > ${group}/cgroup.procs && exec "$@"`, 'sh', ...args], seconds),
    close: () => rmdirSync(group),
  };
}

/** Pages cached outside a group are charged elsewhere, and would hide the limit. */
export function dropCaches() {
  execFileSync('sync');
  writeFileSync('/proc/sys/vm/drop_caches', '3');
}

/**
 * Runs a command for at most `seconds`, and returns the last line of its standard output parsed as JSON; `cut` is added
 * when the time was over, and `{cut}` is all there is when nothing had been printed by then.
 */
export function runJson(args, seconds) {
  return new Promise((resolve, reject) => {
    const child = spawn(args[0], args.slice(1), { stdio: ['ignore', 'pipe', 'inherit'] });
    let text = '';
    let cut = false;
    const timer = setTimeout(() => (cut = child.kill('SIGKILL')), seconds * 1000);
    child.stdout.on('data', (piece) => (text += piece));
    child.on('error', reject);
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      const last = text.trim().split('\n').at(-1) || '{}';
      if (cut) resolve({ ...JSON.parse(last), cut: seconds });
      else if (code !== 0)
        reject(new Error(`${args.join(' ')}: ${signal ?? `exit status ${code}`}`));
      else resolve(JSON.parse(last));
    });
  });
}
