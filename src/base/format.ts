// Numbers as people read them. Decimal units as disks are sold, binary ones as memory is; plain ASCII.

const DECIMAL = ['bytes', 'kB', 'MB', 'GB', 'TB', 'PB'];
const BINARY = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

function scaled(bytes: number, base: number, units: readonly string[]): string {
  let value = bytes;
  let unit = 0;
  // 999.95 would print as 1000.0: step up before rounding does.
  while (Math.abs(value) >= base * 0.99995 && unit < units.length - 1) {
    value /= base;
    unit += 1;
  }
  const digits = unit === 0 || Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  return `${value.toFixed(digits)} ${units[unit] ?? 'bytes'}`;
}

/** 223014297600 → `223 GB`. */
export function formatBytes(bytes: number): string {
  return scaled(bytes, 1000, DECIMAL);
}

/** 223014297600 → `208 GiB`. */
export function formatBinaryBytes(bytes: number): string {
  return scaled(bytes, 1024, BINARY);
}

/** Both units, for figures a user compares with a disk's label and with `df`: `223 GB (208 GiB)`. */
export function formatBytesBoth(bytes: number): string {
  return bytes < 1000 ? formatBytes(bytes) : `${formatBytes(bytes)} (${formatBinaryBytes(bytes)})`;
}

/** `48.2 MB/s`. */
export function formatRate(bytesPerSecond: number): string {
  return `${formatBytes(bytesPerSecond)}/s`;
}

/** With thousands separators and no rounding: `223,014,297,600`. */
export function formatExact(value: number): string {
  return String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, ',');
}

/** Two units at most: 47 s, 12 min, 3 h 20 min, 2 d 4 h. */
export function formatDuration(seconds: number): string {
  const total = Math.max(0, Math.round(seconds));
  if (total < 90) return `${total} s`;
  const minutes = Math.round(total / 60);
  if (minutes < 90) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 === 0 ? `${hours} h` : `${hours} h ${minutes % 60} min`;
  const days = Math.floor(hours / 24);
  return hours % 24 === 0 ? `${days} d` : `${days} d ${hours % 24} h`;
}

/** `3 h to 5 h 30 min`; one figure when both ends read the same. */
export function formatDurationRange(low: number, high: number): string {
  const from = formatDuration(low);
  const to = formatDuration(high);
  return from === to ? from : `${from} to ${to}`;
}
