import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { CHECKS } from '../../src/doctor/all-checks.js';
import type { Check } from '../../src/doctor/check.js';
import { examine } from '../../src/doctor/run.js';
import { signal, testWorld } from './test-context.js';

const check = (id: string, run: Check['run'], timeoutMs = 5_000): Check => ({
  id,
  title: `looks at ${id}`,
  timeoutMs,
  run,
});
const ok =
  (id: string): Check['run'] =>
  () =>
    Promise.resolve([{ id, severity: 'ok', title: id }]);

test('ids are unique and every check says what it looks at', () => {
  const ids = CHECKS.map(({ id }) => id);
  expect(new Set(ids).size).toBe(ids.length);
  for (const { id, title } of CHECKS) {
    expect(id).toMatch(/^[a-z]+\.[a-z_]+$/);
    expect(title).not.toBe('');
  }
});

test('a check that throws becomes a failure under its id, and the others still answer', async () => {
  const checks = [
    check('a.throws', () => Promise.reject(new Error('no such thing'))),
    check('b.fine', ok('b.fine')),
  ];
  const report = await examine(checks, testWorld(), { signal });
  expect(report.findings).toEqual([
    { id: 'a.throws', severity: 'fail', title: 'no such thing' },
    { id: 'b.fine', severity: 'ok', title: 'b.fine' },
  ]);
  expect(report).toMatchObject({ schema: 1, ok: false, counts: { ok: 1, fail: 1 } });
});

test('a check that hangs is cut off at its limit, and told so through its signal', async () => {
  let aborted = false;
  const hangs: Check['run'] = (_, inner) =>
    new Promise(() => inner.addEventListener('abort', () => (aborted = true)));
  const report = await examine([check('a.hangs', hangs, 20)], testWorld(), { signal });
  expect(report.findings[0]).toMatchObject({ id: 'a.hangs', severity: 'fail' });
  expect(report.findings[0]?.title).toContain('no answer within 0.02 s');
  expect(aborted).toBe(true);
});

test('checks run together and are reported in the order of the list', async () => {
  let begun = 0;
  let open: () => void;
  const gate = new Promise<void>((resolve) => (open = resolve));
  const waits: Check['run'] = async (world, inner) => {
    begun += 1;
    if (begun === 2) open();
    await gate;
    return ok('x.y')(world, inner);
  };
  const report = await examine([check('a.a', waits), check('b.b', waits)], testWorld(), { signal });
  expect(report.findings).toHaveLength(2);
});

test('one check or one group can be asked for, and an unknown one is refused with the list', async () => {
  const checks = [check('a.x', ok('a.x')), check('a.y', ok('a.y')), check('b.z', ok('b.z'))];
  const ids = async (only: string[]): Promise<string[]> =>
    (await examine(checks, testWorld(), { signal, only })).findings.map(({ id }) => id);
  expect(await ids(['a.y'])).toEqual(['a.y']);
  expect(await ids(['a'])).toEqual(['a.x', 'a.y']);
  expect(await ids(['b', 'a.x'])).toEqual(['a.x', 'b.z']);
  await expect(ids(['nonsense'])).rejects.toMatchObject({
    code: 'ERR_USAGE',
    hint: expect.stringContaining('a.x, a.y, b.z') as string,
  });
});

test('an aborted examination is an interruption, not a list of failures', async () => {
  await expect(examine(CHECKS, testWorld(), { signal: AbortSignal.abort() })).rejects.toMatchObject(
    { code: 'ERR_INTERRUPTED' },
  );
});

test('all checks together leave the home exactly as it was', async () => {
  const world = testWorld();
  const listing = (): string[] =>
    readdirSync(world.home.home, { recursive: true, encoding: 'utf8' }).map(
      (path) => `${path} ${statSync(join(world.home.home, path)).mtimeMs}`,
    );
  const before = listing();
  const report = await examine(CHECKS, world, { signal });
  expect(listing()).toEqual(before);
  expect(report.findings.length).toBeGreaterThanOrEqual(CHECKS.length);
  expect(report.ok).toBe(true);
});
