// What the system says this process has used.

import { readFileSync } from 'node:fs';

/** Bytes fetched from disks for this process; null where the system doesn't count them. */
export function diskBytesRead(): number | null {
  if (process.platform !== 'linux') return null;
  const found = /^read_bytes: (\d+)/m.exec(readFileSync('/proc/self/io', 'utf8'));
  return found === null ? null : Number(found[1]);
}

/** Most bytes in memory at once so far, mapped files included. */
export function peakResidentBytes(): number {
  return process.resourceUsage().maxRSS * 1024;
}
