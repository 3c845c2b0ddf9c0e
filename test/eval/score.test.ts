import { expect, test } from 'vitest';
import type { Expectation } from '../../src/eval/records.js';
import { parseRecords } from '../../src/eval/records.js';
import { isRight } from '../../src/eval/score.js';

const call = (name: string, json: string) => ({ name, json });
const text = (answer: string) => ({ text: answer, calls: [] });

const object: Expectation = {
  object: { city: 'Oslo', count: 3 },
  schema: {
    properties: { city: { type: 'string' }, count: { type: 'integer' } },
    required: ['city', 'count'],
  },
};
const calls: Expectation = { calls: [{ name: 'set_timer', arguments: { minutes: 3 } }] };

test.each<
  [string, Expectation, { text: string; calls: { name: string; json: string }[] }, boolean]
>([
  ['the exact text', { text: '632' }, text(' 632\n'), true],
  ['more than the text', { text: '632' }, text('It is 632'), false],
  ['the text beside a call', { text: '632' }, { text: '632', calls: [call('f', '{}')] }, false],
  ['an equal object', object, text('{"count": 3, "city": "Oslo"}'), true],
  ['an object with another value', object, text('{"city": "Oslo", "count": 4}'), false],
  ['an object with another type', object, text('{"city": "Oslo", "count": "3"}'), false],
  ['an object with one key more', object, text('{"city": "Oslo", "count": 3, "x": 1}'), false],
  ['text around the object', object, text('Sure: {"city": "Oslo", "count": 3}'), false],
  ['the call', calls, { text: '\n', calls: [call('set_timer', '{"minutes":3}')] }, true],
  ['the call with text', calls, { text: 'ok', calls: [call('set_timer', '{"minutes":3}')] }, false],
  ['another argument', calls, { text: '', calls: [call('set_timer', '{"minutes":4}')] }, false],
  [
    'a call that was cut off',
    calls,
    { text: '', calls: [call('set_timer', '{"minutes":')] },
    false,
  ],
  [
    'the call twice',
    calls,
    { text: '', calls: [1, 2].map(() => call('set_timer', '{"minutes":3}')) },
    false,
  ],
])('%s is judged as the reference does', (_, expected, answer, right) => {
  expect(isRight(expected, answer)).toBe(right);
});

test('a line that is no record is refused with its file and number', () => {
  const good = JSON.stringify({
    id: 'a',
    messages: [{ role: 'user', content: 'x' }],
    expect: { text: 'x' },
  });
  expect(parseRecords('f', `${good}\n\n${good}\n`)).toHaveLength(2);
  expect(() => parseRecords('f', `${good}\n{"id": 1}\n`)).toThrow(/^f:2: /);
  expect(() => parseRecords('f', '{')).toThrow('f:1: not JSON');
});
