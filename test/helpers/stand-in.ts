// Puts a stand-in for launchctl or systemctl on a PATH of its own: real executables that keep state,
// record calls and start the job's real process, with the statuses and texts of the real ones.

import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

const PROGRAMS = { launchctl: 'launchctl.sh', systemctl: 'systemctl.mjs' };

export interface StandIn {
  /** Throw-away folder: home, state and everything the job writes. */
  root: string;
  home: string;
  env: Record<string, string>;
  /** Calls so far, a line each. */
  calls(): string[];
  /** Changes what the stand-in believes; null forgets a state. */
  set(change: Record<string, string | number | null>): void;
  /** Ends what was started and removes the folder. */
  dispose(): void;
}

export function standIn(
  command: keyof typeof PROGRAMS,
  state: Record<string, string | number>,
): StandIn {
  const root = realpathSync(mkdtempSync(join(tmpdir(), `flashmoe-${command}-`)));
  const [bin, home, calls] = [
    join(root, 'bin'),
    join(root, 'home with space'),
    join(root, 'calls'),
  ];
  for (const folder of [bin, home, join(root, 'state')]) mkdirSync(folder);
  symlinkSync(join(import.meta.dirname, PROGRAMS[command]), join(bin, command));
  const set: StandIn['set'] = (change) => {
    for (const [name, value] of Object.entries(change)) {
      const path = join(root, 'state', name);
      if (value === null) rmSync(path, { recursive: true, force: true });
      else writeFileSync(path, String(value));
    }
  };
  set(state);
  return {
    root,
    home,
    env: {
      PATH: [bin, dirname(process.execPath), '/usr/bin', '/bin'].join(':'),
      HOME: home,
      STAND_IN_DIR: root,
    },
    calls: () => (existsSync(calls) ? readFileSync(calls, 'utf8').trim().split('\n') : []),
    set,
    dispose: () => {
      const pids = join(root, 'pids');
      const started = existsSync(pids) ? readFileSync(pids, 'utf8').trim().split('\n') : [];
      for (const pid of started.map(Number)) {
        try {
          process.kill(pid, 'SIGKILL');
        } catch {
          // It has ended by itself.
        }
      }
      rmSync(root, { recursive: true, force: true });
    },
  };
}
