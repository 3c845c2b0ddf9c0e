// Writes a setup's record while it runs: an append-only file in the model's folder, bounded in size. A record
// that can't be written is no reason to stop a setup.

import { appendFile, readFile } from 'node:fs/promises';
import { writeFileAtomic } from '../../base/atomic-file.js';
import type { InstallEvent } from '../events.js';
import { RECORD_LIMIT } from './lines.js';
import { parseRecord, type RecordLine } from './lines.js';
import { summarise, type RecordSummary } from './summary.js';

/** Between two samples at first; doubled with each `WIDEN_BYTES` that this run has written. */
const SAMPLE_MS = 15_000;
const WIDEN_BYTES = 64 * 1024;
/** Shorter waits are the ordinary course of a line. */
const LEAST_WAIT_MS = 5_000;

export interface RecordedFigures {
  received: number;
  peak: number;
}

export class Recorder {
  readonly #path: string;
  readonly #now: () => number;
  readonly #figures: () => RecordedFigures;
  #turn: Promise<void> = Promise.resolve();
  #written = 0;
  #sampledAt = 0;
  #waiting: { at: number; reason: string } | null = null;

  /** What earlier runs left; `null` where there were none. */
  readonly earlier: RecordSummary | null;

  private constructor(
    path: string,
    now: () => number,
    figures: () => RecordedFigures,
    earlier: RecordSummary | null,
  ) {
    this.#path = path;
    this.#now = now;
    this.#figures = figures;
    this.earlier = earlier;
  }

  /** The caller holds the folder's lock. */
  static async begin(
    path: string,
    pid: number,
    now: () => number,
    figures: () => RecordedFigures,
  ): Promise<Recorder> {
    const lines = await readRecord(path);
    const recorder = new Recorder(path, now, figures, lines.length === 0 ? null : summarise(lines));
    await shorten(path, lines, now());
    recorder.#append({ do: 'begin', at: now(), pid });
    return recorder;
  }

  /** Sees every event of the run. */
  see(event: InstallEvent): void {
    const now = this.#now();
    if (event.type === 'waiting') {
      this.#endWait(now);
      this.#waiting = { at: now, reason: event.reason.slice(0, 500) };
    } else if (event.type === 'resumed') {
      this.#endWait(now);
    } else if (event.type === 'slept') {
      const [at, until] = [event.from, event.until].map((time) => new Date(time).getTime());
      this.#append({ do: 'slept', at: at ?? now, until: until ?? now });
    } else if (event.type === 'retry' && event.delayMs >= LEAST_WAIT_MS) {
      this.#append({
        do: 'wait',
        at: now,
        until: now + event.delayMs,
        reason: event.reason.slice(0, 500),
      });
    }
    const everyMs = SAMPLE_MS * 2 ** Math.floor(this.#written / WIDEN_BYTES);
    if (now - this.#sampledAt < everyMs) return;
    this.#sampledAt = now;
    this.#append({ do: 'sample', at: now, ...this.#figures() });
  }

  /** `outcome`: `finished`, or the code of what ended the run. */
  async end(outcome: string): Promise<void> {
    const now = this.#now();
    this.#endWait(now);
    this.#append({ do: 'end', at: now, ...this.#figures(), outcome });
    await this.#turn;
  }

  #endWait(now: number): void {
    const wait = this.#waiting;
    this.#waiting = null;
    if (wait !== null && now - wait.at >= LEAST_WAIT_MS) {
      this.#append({ do: 'wait', ...wait, until: now });
    }
  }

  #append(line: RecordLine): void {
    const text = `${JSON.stringify(line)}\n`;
    if (this.#written + text.length > RECORD_LIMIT && line.do !== 'end') return;
    this.#written += text.length;
    this.#turn = this.#turn
      .then(() => appendFile(this.#path, text))
      // A full disk, say: the setup itself waits for room, its record has a gap.
      .catch(() => undefined);
  }
}

/** [] when there is none. */
export async function readRecord(path: string): Promise<RecordLine[]> {
  try {
    return parseRecord(await readFile(path, 'utf8'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

async function shorten(path: string, lines: readonly RecordLine[], now: number): Promise<void> {
  const texts = lines.map((line) => JSON.stringify(line));
  const size = texts.reduce((sum, text) => sum + text.length + 1, 0);
  if (size <= RECORD_LIMIT) return;
  // Whole runs go, so that what is left adds up.
  const starts = lines.flatMap((line, index) => (line.do === 'begin' ? [index] : []));
  const from = starts.find((start) => lengthFrom(texts, start) <= RECORD_LIMIT / 2) ?? lines.length;
  const { receivedBytes, peakBytes, runs } = summarise(lines.slice(0, from));
  const sums: RecordLine = {
    do: 'earlier',
    at: now,
    received: receivedBytes,
    peak: peakBytes,
    runs,
  };
  const kept = [JSON.stringify(sums), ...texts.slice(from)].map((text) => `${text}\n`).join('');
  await writeFileAtomic(path, kept);
}

function lengthFrom(texts: readonly string[], start: number): number {
  return texts.slice(start).reduce((sum, text) => sum + text.length + 1, 0);
}
