import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { VARIABLES } from '../../src/application/environment-page.js';
import { projectRoot } from '../helpers/built-cli.js';

/** All of src/ but the page itself. */
const sources = readdirSync(join(projectRoot, 'src'), { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile() && /\.tsx?$/.test(entry.name))
  .filter(({ name }) => name !== 'environment-page.ts')
  .map((entry) => readFileSync(join(entry.parentPath, entry.name), 'utf8'));

test('the page of the environment names every variable that is read, and no other', () => {
  const read = sources.flatMap((text) =>
    [...text.matchAll(/\benv(?:\.|\[')([A-Z][A-Z_]+)\b/g)].map(([, name = '']) => name),
  );
  expect(read.filter((name) => !VARIABLES.includes(name))).toEqual([]);
  const nobodys = VARIABLES.filter((name) => !sources.some((text) => text.includes(name)));
  expect(nobodys).toEqual([]);
});
