// The machine this process runs on, as a value: the one place below cli/ that touches process, os
// and the clock, so that a test can describe another machine.

import { arch, availableParallelism, cpus, homedir, platform, release, totalmem } from 'node:os';

export interface Host {
  readonly platform: NodeJS.Platform;
  readonly arch: string;
  /** Kernel release, e.g. 25.1.0. */
  readonly release: string;
  readonly cpuModel: string;
  /** Hardware threads this process may use. */
  readonly cores: number;
  /** Bytes. */
  readonly memoryBytes: number;
  readonly homeDirectory: string;
  /** null where the platform has no user ids. */
  readonly userId: number | null;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Real path of the running node. Versioned under Homebrew: never write it into a service file. */
  readonly execPath: string;
  readonly nodeVersion: string;
  readonly pid: number;
  /** Milliseconds since the epoch. */
  now(): number;
}

export function currentHost(): Host {
  return {
    platform: platform(),
    arch: arch(),
    release: release(),
    cpuModel: cpus()[0]?.model.trim() ?? '',
    cores: availableParallelism(),
    memoryBytes: totalmem(),
    homeDirectory: homedir(),
    userId: process.getuid?.() ?? null,
    env: process.env,
    execPath: process.execPath,
    nodeVersion: process.versions.node,
    pid: process.pid,
    now: Date.now,
  };
}
