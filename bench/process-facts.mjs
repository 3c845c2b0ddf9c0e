// What Linux says of this process; NaN elsewhere.
import { existsSync, readFileSync } from 'node:fs';

function field(path, pattern) {
  return existsSync(path) ? Number(pattern.exec(readFileSync(path, 'utf8'))?.[1] ?? NaN) : NaN;
}

/** Bytes the kernel fetched from the block device for this process. */
export function diskBytes() {
  return field('/proc/self/io', /^read_bytes: (\d+)/m);
}

/** Bytes. */
export function peakResident() {
  return 1024 * field('/proc/self/status', /^VmHWM:\s+(\d+) kB/m);
}

/** Bytes of memory now that no file stands behind. */
export function anonymous() {
  return 1024 * field('/proc/self/status', /^RssAnon:\s+(\d+) kB/m);
}
