// Holds the machine awake while a process of ours lives: a child that the system's own tool ties to its pid.

import { spawn } from 'node:child_process';
import type { Host } from '../base/host.js';

export interface Awake {
  /** Whether anything holds the machine awake. */
  readonly held: boolean;
  release(): void;
}

/** What to run so that the machine stays awake until process `pid` ends; null where nothing is known. `why` is for people. */
export function awakeCommand(
  platform: string,
  pid: number,
  why: string,
): [string, ...string[]] | null {
  // -i: no idle sleep; -s: none on mains either. A closed lid sleeps all the same.
  if (platform === 'darwin') return ['caffeinate', '-i', '-s', '-w', String(pid)];
  if (platform !== 'linux') return null;
  const options = ['--what=sleep:idle', '--who=flashmoe', `--why=${why}`, '--mode=block'];
  return ['systemd-inhibit', ...options, 'tail', `--pid=${pid}`, '-f', '/dev/null'];
}

/** Resolves when the tool runs or is known not to. */
export async function keepAwake(
  { platform, pid }: Pick<Host, 'platform' | 'pid'>,
  why: string,
): Promise<Awake> {
  const command = awakeCommand(platform, pid, why);
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

/** For a server: elsewhere a server's machine does not go to sleep by itself, or was told to. */
export function keepAwakeOnMac(host: Pick<Host, 'platform' | 'pid'>): Promise<Awake> {
  if (host.platform === 'darwin') return keepAwake(host, 'a model answers');
  return Promise.resolve({ held: false, release: () => undefined });
}

/** An agent calls tools between two answers: no new child for each of them. */
const LINGER_MS = 60_000;

/** Holds the machine awake while anything is under way, and a minute longer; not otherwise. */
export class AwakeWhileBusy {
  #busy = 0;
  #awake: Promise<Awake> | null = null;
  #linger: NodeJS.Timeout | null = null;

  /** @param start what holds it, e.g. `() => keepAwake(host, 'a model answers')` */
  constructor(
    private readonly start: () => Promise<Awake>,
    private readonly lingerMs = LINGER_MS,
  ) {}

  /** Something begins; what is returned ends it, once. */
  begin(): () => void {
    this.#busy++;
    if (this.#linger !== null) clearTimeout(this.#linger);
    this.#linger = null;
    this.#awake ??= this.start();
    let ended = false;
    return () => {
      if (ended) return;
      ended = true;
      if (--this.#busy > 0) return;
      this.#linger = setTimeout(() => this.close(), this.lingerMs).unref();
    };
  }

  /** Lets go at once; the next begin() holds again. */
  close(): void {
    if (this.#linger !== null) clearTimeout(this.#linger);
    this.#linger = null;
    void this.#awake?.then((awake) => awake.release());
    this.#awake = null;
  }
}
