// What a setup may take of the line: a rate and hours, changeable while it runs and kept beside its journal,
// so that a resumed setup keeps them.

import { readFile } from 'node:fs/promises';
import * as z from 'zod';
import { writeFileAtomic } from '../base/atomic-file.js';
import { FlashmoeError } from '../base/errors.js';
import { SharedPace } from '../hub/pace.js';
import type { Hours } from '../base/hours.js';

/** Null is "without". */
export interface LimitValues {
  bytesPerSecond: number | null;
  hours: Hours | null;
}

/** What isn't named stays as it is. */
export type LimitChange = Partial<LimitValues>;

const minute = z.number().int().min(0).max(1439);
export const limitValues = z.object({
  bytesPerSecond: z.number().int().positive().nullable(),
  hours: z.object({ from: minute, to: minute }).nullable(),
});
const stored = limitValues.extend({ schema: z.literal(1) });

export const NO_LIMITS: LimitValues = { bytesPerSecond: null, hours: null };

export class Limits {
  /** Given to the HubClient: every body it reads passes here. */
  readonly pace: SharedPace;
  #hours: Hours | null;
  readonly #listeners = new Set<() => void>();

  constructor(values: LimitValues = NO_LIMITS) {
    this.pace = new SharedPace(values.bytesPerSecond);
    this.#hours = values.hours;
  }

  get values(): LimitValues {
    return { bytesPerSecond: this.pace.rate, hours: this.#hours };
  }

  change(change: LimitChange): void {
    if (change.bytesPerSecond !== undefined) this.pace.setRate(change.bytesPerSecond);
    if (change.hours !== undefined) this.#hours = change.hours;
    for (const listener of this.#listeners) listener();
  }

  /** Returns what ends the subscription. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}

/** Without limits when there is no file; ERR_HOME when there is one that can't be understood. */
export async function readLimits(path: string): Promise<LimitValues> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return NO_LIMITS;
    throw error;
  }
  try {
    const { bytesPerSecond, hours } = stored.parse(JSON.parse(text));
    return { bytesPerSecond, hours };
  } catch (cause) {
    throw new FlashmoeError('ERR_HOME', `${path} cannot be read; it was left as it is`, {
      hint: 'remove it, then set the limits again: flashmoe limit 20MB/s',
      subject: path,
      cause,
    });
  }
}

export async function writeLimits(path: string, values: LimitValues): Promise<void> {
  await writeFileAtomic(path, `${JSON.stringify({ schema: 1, ...values })}\n`);
}
