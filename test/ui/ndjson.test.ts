import { describe, expect, test } from 'vitest';
import { ndjsonSink } from '../../src/ui/ndjson.js';
import { readRecording, replay } from '../helpers/recording.js';

describe.each(['setup-2bit', 'resume-waits', 'failed-hash', 'tiny-real'])(
  'the recording %s as NDJSON',
  (name) => {
    const recording = readRecording(name);
    const lines = replay(recording, ndjsonSink);

    test('each line is an object with v, t and event, without control characters', () => {
      for (const line of lines) {
        expect(line).not.toMatch(/[\u0000-\u001f]/);
        const { v, t, event } = JSON.parse(line) as Record<string, string>;
        expect(v).toBe(1);
        expect(t).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
        expect(event).toMatch(/^[a-z]+$/);
      }
    });

    test('every fact comes through in order; only progress and disk are sampled', () => {
      const facts = (types: string[]) =>
        types.filter((type) => !['progress', 'disk'].includes(type));
      expect(facts(lines.map((line) => (JSON.parse(line) as { event: string }).event))).toEqual(
        facts(recording.map(({ event }) => event.type)),
      );
    });
  },
);

test('a thousand progress events in a second are two lines, the finished item among them', () => {
  const recording = Array.from({ length: 1000 }, (_, index) => ({
    at: index,
    event: { type: 'progress', step: 'fetch', item: 'a', done: index + 1, total: 1000 } as const,
  }));
  const lines = replay(recording, ndjsonSink);
  expect(lines.map((line) => (JSON.parse(line) as { done: number }).done)).toEqual([1, 1000]);
});
