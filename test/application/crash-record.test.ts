import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { recordStart, recordStop, waitAfter } from '../../src/application/crash-record.js';

let root: string;
let path: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'flashmoe-crashes-'));
  path = join(root, 'logs/server-starts.json');
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

test('starts without a clean stop between them are counted for an hour', async () => {
  const minute = 60_000;
  expect(await recordStart(path, 0)).toEqual([]);
  expect(await recordStart(path, minute)).toEqual([0]);
  expect(await recordStart(path, 2 * minute)).toEqual([0, minute]);
  expect(await recordStart(path, 61.5 * minute)).toEqual([2 * minute]);
  await recordStop(path);
  expect(await recordStart(path, 62 * minute)).toEqual([]);
});

test('a record torn by a crash, or from a clock that was set back, counts nothing', async () => {
  await recordStart(path, 5_000_000);
  expect(await recordStart(path, 1_000)).toEqual([]);
  writeFileSync(path, '{"starts":[1,');
  expect(await recordStart(path, 2_000)).toEqual([]);
});

test('the wait doubles from the second crash on, and ends at a quarter of an hour', () => {
  expect([0, 1, 2, 3, 4, 5, 6, 7, 20].map(waitAfter)).toEqual([
    0, 0, 30, 60, 120, 240, 480, 900, 900,
  ]);
});
