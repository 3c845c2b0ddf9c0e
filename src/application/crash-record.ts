// How often the background server ended without saying so, and how long it should wait before it loads the model
// again: a model that crashes the engine would otherwise be read from disk every half minute, all night.

import { mkdir, readFile } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { writeFileAtomic } from '../base/atomic-file.js';
import { removeOwned } from '../base/owned-files.js';

const HOUR_MS = 3_600_000;
const FIRST_WAIT_S = 30;
const LONGEST_WAIT_S = 900;

/** Starts within the last hour that were not followed by a clean stop; oldest first, milliseconds since the epoch. */
export async function recordStart(path: string, now: number): Promise<number[]> {
  const before = (await readStarts(path)).filter((at) => at <= now && now - at < HOUR_MS);
  await mkdir(dirname(path), { recursive: true });
  await writeFileAtomic(path, `${JSON.stringify({ starts: [...before, now] })}\n`, 0o600);
  return before;
}

/** A clean stop: what was before it counts no more. */
export async function recordStop(path: string): Promise<void> {
  await removeOwned({ root: dirname(path), owns: (name) => name === basename(path) }, path);
}

/** Seconds: none after one crash, since the service manager has waited already; then doubling, up to a quarter of an hour. */
export function waitAfter(crashes: number): number {
  if (crashes < 2) return 0;
  return Math.min(FIRST_WAIT_S * 2 ** (crashes - 2), LONGEST_WAIT_S);
}

async function readStarts(path: string): Promise<number[]> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '{}';
    throw error;
  });
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // Torn by the very crash that it was to count.
    return [];
  }
  const starts = (value as { starts?: unknown } | null)?.starts;
  return Array.isArray(starts) ? starts.filter((at) => typeof at === 'number') : [];
}
