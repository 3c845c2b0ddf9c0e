import {
  appendFileSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { copyTruncate, RotatingLog } from '../../src/base/log-files.js';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'flashmoe-log-'));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

test('files are put aside by size, the oldest goes, and no line is torn or lost between two files', () => {
  const path = join(root, 'logs/server.log');
  const log = new RotatingLog(path, { maxBytes: 100, keep: 2 });
  for (let line = 0; line < 40; line += 1) log.write(`line ${String(line).padStart(4, '0')}`);
  log.close();
  const texts = [`${path}.2`, `${path}.1`, path].map((file) => readFileSync(file, 'utf8'));
  for (const text of texts) expect(text.length).toBeLessThanOrEqual(100);
  const lines = texts.join('').trimEnd().split('\n');
  expect(lines).toEqual(
    lines.map((_, index) => `line ${String(40 - lines.length + index).padStart(4, '0')}`),
  );
  expect(existsSync(`${path}.3`)).toBe(false);
});

test('a file that is there is continued, and counts for the next rotation', () => {
  const path = join(root, 'server.log');
  writeFileSync(path, 'x'.repeat(90));
  const log = new RotatingLog(path, { maxBytes: 100 });
  log.write('a line of more than ten bytes');
  log.close();
  expect(statSync(`${path}.1`).size).toBe(90);
  expect(readFileSync(path, 'utf8')).toBe('a line of more than ten bytes\n');
});

test('a line longer than a whole file is written all the same', () => {
  const log = new RotatingLog(join(root, 'server.log'), { maxBytes: 10 });
  log.write('y'.repeat(50));
  log.close();
  expect(statSync(join(root, 'server.log')).size).toBe(51);
});

test('a long file that another process holds is copied and emptied, and that process writes on', async () => {
  const path = join(root, 'service.err.log');
  const held = openSync(path, 'a');
  writeSync(held, 'z'.repeat(2000));
  expect(await copyTruncate(path, 5000)).toBe(false);
  expect(await copyTruncate(path, 1000)).toBe(true);
  writeSync(held, 'after');
  appendFileSync(path, '!');
  expect(readFileSync(path, 'utf8')).toBe('after!');
  expect(statSync(`${path}.1`).size).toBe(2000);
  expect(await copyTruncate(join(root, 'none'), 1)).toBe(false);
});
