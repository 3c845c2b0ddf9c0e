// A rate as people type it. Pure.

const FORM = /^(\d{1,9}(?:\.\d{1,6})?)\s*(?:([kKMG])(i)?)?(B|bit)?(?:\/s|ps)?$/;
const POWERS: Readonly<Record<string, number>> = { k: 1, K: 1, M: 2, G: 3 };
/** Slower than this, a night moves less than a single shard's header and a few tensors. */
const LEAST_BYTES_PER_SECOND = 1000;

/**
 * `20MB/s`, `2.5 MiB/s`, `800kB`, `100Mbit/s` as bytes a second; null for anything else. `b` alone is refused:
 * some mean bits by it and some bytes.
 */
export function parseRate(text: string): number | null {
  const match = FORM.exec(text.trim());
  if (match === null) return null;
  const [, figure = '', prefix, binary, unit = 'B'] = match;
  const scale = (binary === undefined ? 1000 : 1024) ** (POWERS[prefix ?? ''] ?? 0);
  const rate = (Number(figure) * scale) / (unit === 'bit' ? 8 : 1);
  return rate >= LEAST_BYTES_PER_SECOND ? Math.round(rate) : null;
}
