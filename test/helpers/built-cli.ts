import { execFileSync, spawn } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const projectRoot = fileURLToPath(new URL('../..', import.meta.url));
export const mainScript = join(projectRoot, 'dist/cli/main.js');
const tool = join(projectRoot, 'tools/build.mjs');
const stamp = join(projectRoot, 'build/.built-for-tests');

/** For hooks that may have to compile everything on a busy machine. */
export const BUILD_MS = 180_000;

/** Bundles src/ into dist/ unless dist/ is newer than every source; safe when several test files ask at once. */
export async function buildCli(): Promise<void> {
  mkdirSync(dirname(stamp), { recursive: true });
  const lock = `${stamp}.lock`;
  for (;;) {
    if (isFresh()) return;
    try {
      mkdirSync(lock);
      break;
    } catch {
      if (Date.now() - (statSync(lock, { throwIfNoEntry: false })?.mtimeMs ?? Infinity) > 120_000) {
        rmSync(lock, { recursive: true, force: true });
      }
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
  try {
    const started = new Date();
    execFileSync(process.execPath, [tool, '--no-types'], { cwd: projectRoot, stdio: 'pipe' });
    writeFileSync(stamp, '');
    utimesSync(stamp, started, started);
  } finally {
    rmSync(lock, { recursive: true, force: true });
  }
}

function isFresh(): boolean {
  const marks = [stamp, join(projectRoot, 'dist/.built')];
  if (!existsSync(mainScript)) return false;
  const built = Math.max(
    ...marks.map((mark) => statSync(mark, { throwIfNoEntry: false })?.mtimeMs ?? 0),
  );
  const sources = readdirSync(join(projectRoot, 'src'), { recursive: true, withFileTypes: true });
  return sources.every(
    (entry) => !entry.isFile() || statSync(join(entry.parentPath, entry.name)).mtimeMs <= built,
  );
}

export interface CliResult {
  status: number | null;
  stdout: string;
  stderr: string;
}

/** Runs the built command off a terminal with an environment of its own. */
export function flashmoe(
  args: string[],
  options: { env?: Record<string, string>; nodeArgs?: string[] } = {},
): Promise<CliResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [...(options.nodeArgs ?? []), mainScript, ...args], {
      env: { PATH: process.env['PATH'] ?? '', HOME: '/nonexistent', ...options.env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const result: CliResult = { status: null, stdout: '', stderr: '' };
    child.stdout.setEncoding('utf8').on('data', (text: string) => (result.stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (result.stderr += text));
    child.on('error', reject);
    child.on('close', (status) => resolve({ ...result, status }));
  });
}
