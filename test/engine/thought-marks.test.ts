// A thought that has used up its budget is closed with the family's own mark: what its template closes thoughts with, and
// what the reader of its answers takes for the end of one.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { newParser, outputFormat } from '../../src/engine/output-parser.js';

const FIXTURES = join(import.meta.dirname, '..', 'fixtures');
const templates = readdirSync(FIXTURES)
  .map((family) => ({ family, path: join(FIXTURES, family, 'chat_template.jinja') }))
  .flatMap(({ family, path }) => {
    try {
      return [{ family, template: readFileSync(path, 'utf8') }];
    } catch {
      return [];
    }
  });

/** How an answer of the family begins a thought, and, after the mark, what is said to the user. */
function formOf(template: string): { mark: string; thought: string; answer: string } {
  if (template.includes('<|channel|>')) {
    return {
      mark: '<|end|>',
      thought: '<|channel|>analysis<|message|>',
      answer: '<|start|>assistant<|channel|>final<|message|>',
    };
  }
  return { mark: '</think>', thought: '<think>', answer: '\n\n' };
}

it('is tried with templates of many families', () => {
  const thinking = templates.filter(({ template }) => outputFormat(template).reasoning);
  expect(thinking.map(({ family }) => family)).toEqual(
    expect.arrayContaining(['qwen3_5_moe', 'glm4_moe', 'gpt_oss', 'minimax_m2', 'deepseek_v32']),
  );
});

it.each(templates)('the thought of $family', ({ template }) => {
  const format = outputFormat(template);
  const { mark, thought, answer } = formOf(template);
  expect(format.endOfThought).toBe(mark);
  expect(template).toContain(mark);
  const parser = newParser({ format, prompt: '', tools: [], newCallId: () => 'call' });
  const parts = [...parser.push(thought), ...parser.push('hm')];
  expect(parser.inReasoning).toBe(true);
  parts.push(...parser.push(format.endOfThought));
  expect(parser.inReasoning).toBe(false);
  parts.push(...parser.push(`${answer}42`), ...parser.end(false));
  const textOf = (channel: string): string =>
    parts
      .map((part) => (part.type === 'text' && part.channel === channel ? part.text : ''))
      .join('');
  expect([textOf('reasoning'), textOf('content')]).toEqual(['hm', '42']);
});
