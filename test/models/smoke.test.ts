import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { packageRoot } from '../../src/base/package-root.js';
import { checkAnswer, checkTokens } from '../../src/models/smoke.js';
import { TINY_QUESTIONS } from '../helpers/tiny-questions.js';

test('the known tokens of the bundled model are those of its reference run', () => {
  const file = join(packageRoot, 'models', 'tiny-eval', 'smoke.json');
  const { prompts } = JSON.parse(readFileSync(file, 'utf8')) as {
    prompts: { prompt_ids: number[]; completion_ids: number[]; margins: number[] }[];
  };
  const known = TINY_QUESTIONS.map(({ prompt, expected, margins }) => ({
    ...{ prompt_ids: prompt, completion_ids: expected, margins },
  }));
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

test.each([
  ['137', true],
  ['92 + 45 = 137.', true],
  ['**137**', true],
  ['The sum is 1,137', false],
  ['137 or 138', false],
  ['', false],
])('the last number of %j is 137: %s', (text, ok) => {
  expect(checkAnswer({ kind: 'number', value: 137 }, text)).toBe(ok);
});

test.each([
  ['I am a model.', true],
  ['我是一个 语言 模型 的 助手', true],
  ['a b c d', false],
  ['\u0000\u0001 hello there you', false],
  ['\uFFFD hello there you', false],
])('%j is text of words: %s', (text, ok) => {
  expect(checkAnswer({ kind: 'words' }, text)).toBe(ok);
});
