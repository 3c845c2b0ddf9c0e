import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { packageRoot } from '../../src/addon/load.js';
import { catalogEntry } from '../../src/models/catalog.js';
import { checkAnswer, checkTokens } from '../../src/models/smoke.js';

test('the known tokens of the bundled model are those of its reference run', () => {
  const file = join(packageRoot, 'models', 'tiny-eval', 'smoke.json');
  const { prompts } = JSON.parse(readFileSync(file, 'utf8')) as {
    prompts: { prompt_ids: number[]; completion_ids: number[]; margins: number[] }[];
  };
  const known = catalogEntry('tiny').questions['4bit'].map((question) => {
    if (question.kind !== 'tokens') throw new Error('the question changed');
    const { prompt, expected, margins } = question;
    return { prompt_ids: prompt, completion_ids: expected, margins };
  });
  expect(prompts).toHaveLength(3);
  expect(prompts).toMatchObject(known);
});

const question = {
  kind: 'tokens' as const,
  name: 'x',
  prompt: [1],
  expected: [5, 6, 7],
  margins: [0.5, 0.001, 0.5],
};

test.each([
  [[5, 6, 7], true],
  [[5, 6, 7, 8], true],
  [[5, 9, 1], true],
  [[4, 6, 7], false],
  [[5, 6, 8], false],
  [[5], false],
  [[], false],
])('tokens %j pass: %s', (ids, ok) => {
  expect(checkTokens(question, ids)).toBe(ok);
});

test.each([
  ['391', true],
  ['The answer is 391.', true],
  ['392', false],
])('the text %j contains the answer: %s', (text, ok) => {
  expect(checkAnswer({ kind: 'contains', texts: ['391'] }, text)).toBe(ok);
});

test.each([
  ['{"capital": "Paris", "legs": 8}', true],
  ['```json\n{"legs": 8, "capital": "Paris"}\n```', true],
  ['{"capital": "Paris", "legs": "8"}', false],
  ['{"capital": "Paris", "legs": 8, "extra": 1}', false],
  ['{"capital": "Paris"', false],
  ['Paris, 8', false],
])('the JSON answer %j passes: %s', (text, ok) => {
  expect(checkAnswer({ kind: 'json', fields: { capital: 'Paris', legs: 8 } }, text)).toBe(ok);
});

test('an equal answer may have space around it', () => {
  expect(checkAnswer({ kind: 'equals', text: 'yes' }, ' yes\n')).toBe(true);
  expect(checkAnswer({ kind: 'equals', text: 'yes' }, 'yes.')).toBe(false);
});
