// The machine this process runs on, as a value: the one place below cli/ that touches process, os
// and the clock, so that a test can describe another machine.

import {
  arch,
  availableParallelism,
  cpus,
  homedir,
  platform,
  release,
  tmpdir,
  totalmem,
  uptime,
} from 'node:os';
import { join, resolve } from 'node:path';

export interface Host {
  readonly platform: NodeJS.Platform;
  readonly arch: string;
  /** Kernel release, e.g. 25.1.0. */
  readonly release: string;
  readonly cpuModel: string;
  /** Hardware threads this process may use. */
  readonly cores: number;
  /** Bytes; a container's limit where that is lower. */
  readonly memoryBytes: number;
  readonly homeDirectory: string;
  readonly temporaryDirectory: string;
  /** null where the platform has no user ids. */
  readonly userId: number | null;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Real path of the running node. Versioned under Homebrew: never write it into a service file. */
  readonly execPath: string;
  /** Options given to node itself; a child that runs our own sources needs them too. */
  readonly execArgv: readonly string[];
  readonly nodeVersion: string;
  readonly pid: number;
  /** Milliseconds since the epoch; jumps when the clock is set. */
  now(): number;
  /** Milliseconds from an arbitrary start; never goes back, may stand still while the machine sleeps. */
  monotonic(): number;
  /** Milliseconds since the machine started, the time it slept included; can't be set. */
  uptime(): number;
}

export function currentHost(): Host {
  return {
    platform: platform(),
    arch: arch(),
    release: release(),
    cpuModel: cpus()[0]?.model.trim() ?? '',
    cores: availableParallelism(),
    memoryBytes: memoryLimit(),
    homeDirectory: homedir(),
    temporaryDirectory: tmpdir(),
    userId: process.getuid?.() ?? null,
    env: process.env,
    execPath: process.execPath,
    execArgv: process.execArgv,
    nodeVersion: process.versions.node,
    pid: process.pid,
    now: Date.now,
    monotonic,
    uptime: () => uptime() * 1000,
  };
}

/** Milliseconds from an arbitrary start, for spans of time; see Host.monotonic. */
export function monotonic(): number {
  return performance.now();
}

function memoryLimit(): number {
  const limit = process.constrainedMemory();
  // 0 = unknown; without a limit some kernels report a number near 2^63.
  return limit > 0 ? Math.min(limit, totalmem()) : totalmem();
}

/** `$FLASHMOE_HOME`, else `~/.flashmoe`; absolute. */
export function flashmoeHome(from: Pick<Host, 'env' | 'homeDirectory'>): string {
  const set = from.env['FLASHMOE_HOME'];
  return set ? resolve(set) : join(from.homeDirectory, '.flashmoe');
}
