// A folder for the length of one task, gone with all that is in it when the task has ended, whatever its end is.

import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Host } from './host.js';

/** `purpose` is part of its name, so that one that a killed process left says whose it was. */
export async function inTemporaryFolder<Result>(
  { temporaryDirectory }: Pick<Host, 'temporaryDirectory'>,
  purpose: string,
  work: (folder: string) => Promise<Result>,
): Promise<Result> {
  const folder = await mkdtemp(join(temporaryDirectory, `flashmoe-${purpose}-`));
  try {
    return await work(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
