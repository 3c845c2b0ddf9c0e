import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { Template } from '@huggingface/jinja';
import { expect, test } from 'vitest';
import { packageRoot } from '../../src/base/package-root.js';
import { ControlText } from '../../src/engine/control-text.js';
import { loadTokenizer } from '../../src/engine/tokenizer.js';

const FOLDER = join(packageRoot, 'models', 'tiny');

function json<T>(...path: string[]): T {
  return JSON.parse(readFileSync(join(packageRoot, ...path), 'utf8')) as T;
}

test('the bundled model is a repository of at least three shards in at most 12 MB', () => {
  const index = json<{ weight_map: Record<string, string> }>(
    'models/tiny/model.safetensors.index.json',
  );
  expect(new Set(Object.values(index.weight_map)).size).toBeGreaterThanOrEqual(3);
  const sizes = readdirSync(FOLDER).map((name) => statSync(join(FOLDER, name)).size);
  expect(sizes.reduce((sum, size) => sum + size, 0)).toBeLessThanOrEqual(12_000_000);
});

test('its template renders here as in jinja2', () => {
  type Cases = Record<string, { input: Record<string, unknown>; text: string }>;
  const { cases } = json<{ cases: Cases }>('test/fixtures/tiny/golden_chat.json');
  const template = new Template(readFileSync(join(FOLDER, 'chat_template.jinja'), 'utf8'));
  for (const { input, text } of Object.values(cases)) {
    expect(template.render({ ...input, add_generation_prompt: true })).toBe(text);
  }
});

test('its tokenizer gives the ids of the reference for texts and rendered conversations', async () => {
  type Cases = { text: string; ids: number[] }[] | Record<string, { text: string; ids: number[] }>;
  const control = new ControlText(await loadTokenizer(FOLDER), '');
  for (const name of ['golden_tokenizer.json', 'golden_chat.json']) {
    const { cases } = json<{ cases: Cases }>('test/fixtures/tiny', name);
    for (const { text, ids } of Object.values(cases)) {
      expect(control.encode(text, '\ue000'), text).toEqual(ids);
    }
  }
});
