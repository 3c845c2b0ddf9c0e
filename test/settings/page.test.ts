import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { projectRoot } from '../helpers/built-cli.js';

test('the pages that are made from schemas are current', () => {
  const check = (): string =>
    execFileSync(process.execPath, [join(projectRoot, 'tools/pages.mjs'), '--check'], {
      encoding: 'utf8',
      stdio: 'pipe',
    });
  expect(check).not.toThrow();
});
