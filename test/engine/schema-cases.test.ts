// Schemas that were once not held, or refused without need: test/fixtures/cases/api.

import { readdirSync, readFileSync } from 'node:fs';
import { beforeAll, expect, it } from 'vitest';
import { schemaGrammar } from '../../src/engine/grammar/schema.js';
import { Bytes } from './schemas/matcher.js';

const FOLDER = new URL('../fixtures/cases/api/', import.meta.url);

interface Case {
  kind: string;
  schema: unknown;
  text: string;
  expected: string;
}

const cases = readdirSync(FOLDER)
  .map((name) => ({
    name,
    ...(JSON.parse(readFileSync(new URL(name, FOLDER), 'utf8')) as Case),
  }))
  .filter(({ kind }) => kind === 'grammar-accepts');

let bytes: Bytes;
beforeAll(async () => {
  bytes = await Bytes.open();
});

it('has such cases', () => expect(cases.length).toBeGreaterThan(20));

it.each(cases)('$name: $text is $expected', async ({ schema, text, expected }) => {
  const problems: string[] = [];
  const grammar = schemaGrammar(schema, 'schema', (path) => problems.push(path));
  const tag = { type: 'structural_tag', format: { type: 'grammar', grammar } };
  const accepts = await (await bytes.compile(tag)).accepts(text);
  if (expected === 'accepted') expect([problems, accepts]).toEqual([[], true]);
  else if (problems.length === 0) expect(accepts).toBe(false);
  else expect(problems[0]).toContain('schema.');
});
