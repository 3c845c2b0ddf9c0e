import { describe, expect, test } from 'vitest';
import { plainSink } from '../../src/ui/plain.js';
import { plainStyle } from '../../src/ui/style.js';
import { readRecording, replay } from '../helpers/recording.js';

const style = plainStyle({ color: false, unicode: true });
const lines = (name: string): string[] =>
  replay(readRecording(name), (io) => plainSink({ ...io, style })).map((line) => {
    expect(line).toMatch(/^\d\d:\d\d:\d\d /);
    return line.slice(9);
  });

describe('a run as plain lines', () => {
  test('names every change of state with its reason', () => {
    const text = lines('resume-waits');
    expect(text).toContain('plan: done, continues an earlier run');
    expect(text).toContain('fetch: model-00001-of-00004.safetensors already here (1 of 4)');
    expect(
      text.some((line) =>
        /^waiting: no connection to huggingface.co .*, next try \d\d:\d\d$/.test(line),
      ),
    ).toBe(true);
    expect(text).toContain('waiting: 1.2 GB missing on Macintosh HD');
    expect(text.filter((line) => line === 'going on')).toHaveLength(2);
    expect(text.at(-1)).toBe('waiting: paused by you');
  });

  test('gives the plan as exact bytes', () => {
    expect(lines('setup-2bit')).toContain(
      '  download         19,510,000,000 bytes, 19.5 GB (18.2 GiB) in 4 shards',
    );
  });

  test.each(['setup-2bit', 'resume-waits', 'failed-hash', 'tiny-real'])(
    'is never without a line for more than ten seconds, whatever it waits for (%s)',
    (name) => {
      const recording = readRecording(name);
      const said: number[] = [];
      let now = recording[0]?.at ?? 0;
      const sink = plainSink({ write: () => said.push(now), now: () => now, style });
      for (const { at, event } of recording) {
        for (; now + 1000 < at; now += 1000) sink.tick();
        now = at;
        sink(event);
      }
      const gaps = said.slice(1).map((at, i) => at - (said[i] ?? 0));
      expect(Math.max(...gaps)).toBeLessThanOrEqual(11_000);
    },
  );

  test('says progress at least every ten seconds while bytes move', () => {
    const fetch = lines('setup-2bit').filter((line) => /^fetch: [\d.]+ GB of/.test(line));
    expect(fetch.length).toBeGreaterThanOrEqual(9);
    expect(fetch.length).toBeLessThanOrEqual(30);
    expect(fetch.some((line) => /MB\/s, .* left, .* free$/.test(line))).toBe(true);
  });

  test('shows each known answer with its judgement', () => {
    expect(lines('setup-2bit')).toContain('answer: ✓ arithmetic: "42"');
  });

  test('leaves the failure itself to whoever prints errors', () => {
    const text = lines('failed-hash');
    expect(text.at(-1)).toBe('fetch: failed');
    expect(text.join('\n')).not.toContain('sha256 differs');
  });

  test('carries no escape codes when colour is off', () => {
    expect(lines('setup-2bit').join('\n')).not.toContain('\u001B');
  });
});
