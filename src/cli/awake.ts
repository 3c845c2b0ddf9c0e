// PauseReasons the machine awake while a process of ours lives: a child that the system's own tool ties to its pid.

import { spawn } from 'node:child_process';
import type { Host } from '../base/host.js';

export interface Awake {
  /** Whether anything holds the machine awake. */
  readonly held: boolean;
  release(): void;
}

/** What to run so that the machine stays awake until process `pid` ends; null where nothing is known. */
export function awakeCommand(platform: string, pid: number): [string, ...string[]] | null {
  // -i: no idle sleep; -s: none on mains either. A closed lid sleeps all the same.
  if (platform === 'darwin') return ['caffeinate', '-i', '-s', '-w', String(pid)];
  if (platform !== 'linux') return null;
  const why = ['--what=sleep:idle', '--who=flashmoe', '--why=provisioning a model', '--mode=block'];
  return ['systemd-inhibit', ...why, 'tail', `--pid=${pid}`, '-f', '/dev/null'];
}

/** Resolves when the tool runs or is known not to. */
export async function keepAwake({ platform, pid }: Pick<Host, 'platform' | 'pid'>): Promise<Awake> {
  const command = awakeCommand(platform, pid);
  if (command === null) return { held: false, release: () => undefined };
  const [program, ...args] = command;
  const child = spawn(program, args, { stdio: 'ignore' });
  child.unref();
  const held = await new Promise<boolean>((resolve) => {
    child.once('spawn', () => resolve(true));
    // Not installed: the machine keeps its own counsel.
    child.once('error', () => resolve(false));
  });
  return { held, release: () => void child.kill() };
}
