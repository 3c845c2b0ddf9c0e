// A file of ours that another version of flashmoe wrote is not damaged: it is said by name that this one can't read it.

import { FlashmoeError } from './errors.js';

/** Throws ERR_FORMAT when the number in `field` of a file is another than `known`. What has no number there is for others to judge. */
export function requireVersion(value: unknown, field: string, known: number, file: string): void {
  if (typeof value !== 'object' || value === null) return;
  const found = (value as Record<string, unknown>)[field];
  if (typeof found !== 'number' || found === known) return;
  throw new FlashmoeError(
    'ERR_FORMAT',
    `${file} is of format ${found}, this flashmoe reads format ${known}; nothing was changed`,
    { hint: 'update flashmoe: a newer one wrote the file', subject: file },
  );
}
