// Has the system forget what it keeps of a folder's files, so that a measurement begins at the disk.

import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { exec } from '../base/exec.js';

/** Asks for it, as anybody may on Linux; false where there is no way to. What is mapped stays: before an engine opens. */
export async function forgetPages(
  platform: NodeJS.Platform,
  folders: readonly string[],
  signal: AbortSignal,
): Promise<boolean> {
  if (platform !== 'linux') return false;
  for (const folder of folders) {
    for (const entry of await readdir(folder, { withFileTypes: true })) {
      if (!entry.isFile()) continue;
      const forget = ['iflag=nocache', 'count=0', `if=${join(folder, entry.name)}`];
      // A `dd` that cannot: the first pass is then called what it is.
      const { exitCode } = await exec('dd', forget, { signal });
      if (exitCode !== 0) return false;
    }
  }
  return true;
}
