// How short of memory the machine is now: the system's own verdict, and what it has swapped out.

import { readFile } from 'node:fs/promises';
import type { Exec } from '../base/exec.js';
import type { Host } from '../base/host.js';
import { parsePressureLevel, parseSwapUsage, parseVmStat } from './macos.js';

export interface MemoryFacts {
  pressure: 'normal' | 'warning' | 'critical' | null;
  swapUsedBytes: number | null;
  /** Given at once without swapping, caches included; null where the system has no such figure. */
  availableBytes: number | null;
}

/** Where Linux tells it: proc_meminfo(5), and pressure stall information. */
export const PROC_FILES = { memory: '/proc/meminfo', stalls: '/proc/pressure/memory' };

export async function memoryFacts(
  host: Pick<Host, 'platform'>,
  exec: Exec,
  signal: AbortSignal,
  files = PROC_FILES,
): Promise<MemoryFacts> {
  if (host.platform === 'darwin') {
    const [level, swap, pages] = await Promise.all([
      exec('sysctl', ['kern.memorystatus_vm_pressure_level'], { signal }),
      exec('sysctl', ['vm.swapusage'], { signal }),
      exec('vm_stat', [], { signal }),
    ]);
    return {
      pressure: parsePressureLevel(level.stdout),
      swapUsedBytes: parseSwapUsage(swap.stdout),
      availableBytes: parseVmStat(pages.stdout),
    };
  }
  const [memory, stalls] = await Promise.all([
    readFile(files.memory, 'utf8').catch(() => ''),
    readFile(files.stalls, 'utf8').catch(() => ''),
  ]);
  return parseProcMemory(memory, stalls);
}

/** Share of time, in percent of ten seconds, in which every process waited for memory. */
const WARNING_STALL = 1;
const CRITICAL_STALL = 20;

/** /proc/meminfo, proc_meminfo(5), and /proc/pressure/memory, which older kernels and containers lack. */
export function parseProcMemory(memory: string, stalls: string): MemoryFacts {
  const bytes = (name: string): number | null => {
    const found = new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(memory)?.[1];
    return found === undefined ? null : Number(found) * 1024;
  };
  const total = bytes('SwapTotal');
  const free = bytes('SwapFree');
  const stall = /^full avg10=([\d.]+)/m.exec(stalls)?.[1];
  return {
    pressure: stall === undefined ? null : levelOf(Number(stall)),
    swapUsedBytes: total === null || free === null ? null : total - free,
    availableBytes: bytes('MemAvailable'),
  };
}

function levelOf(stall: number): 'normal' | 'warning' | 'critical' {
  if (stall >= CRITICAL_STALL) return 'critical';
  return stall >= WARNING_STALL ? 'warning' : 'normal';
}
