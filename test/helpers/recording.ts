import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../src/base/package-root.js';
import type { InstallEvent } from '../../src/jobs/events.js';

export interface Recorded {
  at: number;
  event: InstallEvent;
}

/** A recording of test/fixtures/events as events with the times they happened at. */
export function readRecording(name: string): Recorded[] {
  // A program of a test is a bundle elsewhere.
  const path = join(packageRoot, 'test', 'fixtures', 'events', `${name}.ndjson`);
  return readFileSync(path, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => {
      const { t, event, ...fields } = JSON.parse(line) as Record<string, unknown>;
      delete fields['v'];
      return { at: Date.parse(t as string), event: { type: event, ...fields } as InstallEvent };
    });
}

/** Feeds a recording to a sink whose clock is the recording's own; returns what was written. */
export function replay(
  recording: Recorded[],
  makeSink: (io: { write(line: string): void; now(): number }) => (event: InstallEvent) => void,
): string[] {
  const lines: string[] = [];
  let now = 0;
  const sink = makeSink({ write: (line) => void lines.push(line), now: () => now });
  for (const { at, event } of recording) {
    now = at;
    sink(event);
  }
  return lines;
}
