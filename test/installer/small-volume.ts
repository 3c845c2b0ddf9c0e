// A real volume of a few megabytes: a tmpfs where the process may mount one.

import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';

export interface SmallVolume {
  path: string;
  unmount(): void;
}

/** null where mounting is not allowed; the reason is printed, for then tests are skipped. */
export function mountSmallVolume(path: string, bytes: number): SmallVolume | null {
  mkdirSync(path, { recursive: true });
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes}`, 'flashmoe-test', path], {
      stdio: 'pipe',
    });
  } catch (error) {
    const why = (error as { stderr?: Buffer }).stderr?.toString().trim() || String(error);
    console.log(`SKIP: no small volume can be mounted here (${why})`);
    return null;
  }
  return {
    path,
    unmount: () => execFileSync('umount', ['-l', path], { stdio: 'pipe' }),
  };
}
