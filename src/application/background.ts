// The same setup in a process of its own, which a closed terminal doesn't end.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import { COMMAND_ENTRY } from './service.js';
import type { AppContext } from './context.js';

/** Starts `flashmoe …words` with its NDJSON in a log file below the home. */
export async function startInBackground(
  context: AppContext,
  words: string[],
): Promise<{ pid: number; log: string; hasEnded: () => boolean }> {
  const { home, host } = context;
  await mkdir(home.logs, { recursive: true });
  const log = join(home.logs, 'setup.ndjson');
  const file = await open(log, 'a', 0o600);
  try {
    const child = spawn(host.execPath, [...host.execArgv, COMMAND_ENTRY, ...words], {
      detached: true,
      stdio: ['ignore', file.fd, file.fd],
      // Wherever this terminal stands may go away, a mounted volume for instance.
      cwd: home.home,
      env: { ...host.env, FLASHMOE_HOME: home.home },
    });
    await once(child, 'spawn');
    child.unref();
    const hasEnded = (): boolean => child.exitCode !== null || child.signalCode !== null;
    return { pid: child.pid ?? 0, log, hasEnded };
  } finally {
    await file.close();
  }
}
