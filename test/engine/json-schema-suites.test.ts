// Schemas and answers that others wrote: nothing invalid may come through a grammar, whatever else it refuses.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, expect, it, vi } from 'vitest';
import { schemaGrammar } from '../../src/engine/grammar/schema.js';
import { isObject } from '../../src/engine/model-files.js';
import { Bytes } from './schemas/matcher.js';
import { measure } from './schemas/measure.js';

vi.setConfig({ testTimeout: 180_000 });

const FOLDER = fileURLToPath(new URL('../fixtures/json-schema/', import.meta.url));

interface Group {
  description: string;
  schema: unknown;
  tests: { description: string; data: unknown; valid: boolean }[];
}

let bytes: Bytes;
beforeAll(async () => {
  bytes = await Bytes.open();
});

it('lets nothing invalid of the JSON-Schema-Test-Suite through, and most of what is valid', async () => {
  const wrong: string[] = [];
  let right = 0;
  let narrower = 0;
  let refused = 0;
  for (const name of readdirSync(join(FOLDER, 'suite')).filter((each) => each.endsWith('.json'))) {
    const groups = JSON.parse(readFileSync(join(FOLDER, 'suite', name), 'utf8')) as Group[];
    for (const { description, schema, tests } of groups) {
      const problems: string[] = [];
      const grammar = schemaGrammar(schema, 's', (path) => problems.push(path));
      if (problems.length > 0) {
        refused++;
        continue;
      }
      const tag = { type: 'structural_tag', format: { type: 'grammar', grammar } };
      const compiled = await bytes.compile(tag);
      for (const { data, valid, description: which } of tests) {
        const accepts = await compiled.accepts(JSON.stringify(data));
        // Items that differ are what the check of a whole answer is for.
        const isChecked = isObject(schema) && schema.uniqueItems === true;
        if (accepts && !valid && !isChecked) wrong.push(`${name}: ${description}: ${which}`);
        else if (valid && accepts) right++;
        else if (valid) narrower++;
      }
    }
  }
  expect(wrong).toEqual([]);
  // As many as when this was written; a fall is a loss of coverage.
  expect(right).toBeGreaterThanOrEqual(RIGHT);
  expect(refused).toBeLessThanOrEqual(REFUSED);
  expect(right + narrower).toBeGreaterThan(0);
});

const RIGHT = 370;
const REFUSED = 110;

it('draws nothing invalid from grammars of JSONSchemaBench, and refuses few of its schemas', async () => {
  const lines = readFileSync(join(FOLDER, 'json-schema-bench.ndjson'), 'utf8').trim().split('\n');
  const results = { invalid: 0, refused: 0, enforced: 0, wrong: 0 };
  const wrong: string[] = [];
  for (const line of lines) {
    const { name, schema } = JSON.parse(line) as { name: string; schema: unknown };
    const { result, why } = await measure(schema, bytes, 2);
    results[result]++;
    if (result === 'wrong') wrong.push(`${name}: ${why}`);
  }
  expect(wrong).toEqual([]);
  const valid = results.enforced + results.refused;
  expect(results.enforced / valid).toBeGreaterThanOrEqual(0.8);
});
