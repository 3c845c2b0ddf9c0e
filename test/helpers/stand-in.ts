// Puts a stand-in for launchctl or systemctl on a PATH of its own. The programs are real executables
// that keep state, record calls, and start the job's real process; statuses and texts are the real ones.

import { mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, symlinkSync } from 'node:fs';
import { existsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export interface StandIn {
  /** Throw-away folder: home, state and everything the job writes. */
  root: string;
  home: string;
  env: Record<string, string>;
  /** Calls so far, each as its arguments. */
  calls(): string[][];
  /** Changes what the stand-in believes. */
  set(change: Record<string, unknown>): void;
  /** Ends what was started and removes the folder. */
  dispose(): void;
}

export function standIn(
  command: 'launchctl' | 'systemctl',
  state: Record<string, unknown>,
): StandIn {
  const root = realpathSync(mkdtempSync(join(tmpdir(), `flashmoe-${command}-`)));
  const [bin, home] = [join(root, 'bin'), join(root, 'home with space')];
  mkdirSync(bin);
  mkdirSync(home);
  const script = join(dirname(fileURLToPath(import.meta.url)), `${command}.mjs`);
  symlinkSync(script, join(bin, command));
  const [stateFile, callsFile] = [join(root, 'state.json'), join(root, 'calls.ndjson')];
  const read = (): Record<string, unknown> =>
    existsSync(stateFile) ? (JSON.parse(readFileSync(stateFile, 'utf8')) as typeof state) : {};
  const set = (change: Record<string, unknown>): void =>
    writeFileSync(stateFile, JSON.stringify({ ...read(), ...change }));
  set(state);
  return {
    root,
    home,
    env: {
      PATH: [bin, dirname(process.execPath), '/usr/bin', '/bin'].join(':'),
      HOME: home,
      STAND_IN_DIR: root,
    },
    calls: () =>
      existsSync(callsFile)
        ? readFileSync(callsFile, 'utf8')
            .trim()
            .split('\n')
            .map((line) => JSON.parse(line) as string[])
        : [],
    set,
    dispose: () => {
      const jobs = (read()['jobs'] ?? {}) as Record<string, { pid?: number | null }>;
      for (const { pid } of Object.values(jobs)) {
        try {
          if (pid) process.kill(pid, 'SIGKILL');
        } catch {
          // It has ended by itself.
        }
      }
      rmSync(root, { recursive: true, force: true });
    },
  };
}
