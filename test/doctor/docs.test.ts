import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { CHECKS } from '../../src/doctor/all-checks.js';
import { projectRoot } from '../helpers/built-cli.js';

test('the page on operations lists exactly the checks there are, in their order', () => {
  const page = readFileSync(join(projectRoot, 'docs/operations.md'), 'utf8');
  const rows = [...page.matchAll(/^\| `([a-z_.]+)` +\| (.*?) +\|$/gm)];
  expect(rows.map(([, id, title]) => `${id} ${title}`)).toEqual(
    CHECKS.map(({ id, title }) => `${id} ${title}`),
  );
});
