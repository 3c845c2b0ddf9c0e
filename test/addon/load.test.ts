import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { addonCandidates, homeAddonPath, loadAddon, runJob } from '../../src/addon/load.js';
import { FlashmoeError } from '../../src/base/errors.js';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'flashmoe-addon-'));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

/** A CommonJS file stands in for a binary: require() treats both alike until dlopen. */
async function fakeAddon(name: string, source: string): Promise<string> {
  const path = join(dir, `${name}.cjs`);
  await writeFile(path, source);
  return path;
}

function thrownBy(action: () => unknown): FlashmoeError {
  try {
    action();
  } catch (thrown) {
    if (thrown instanceof FlashmoeError) return thrown;
    throw thrown;
  }
  throw new Error('nothing was thrown');
}

test('an override is the only candidate', () => {
  const places = { engineDir: dir, platform: 'linux', arch: 'x64', root: '/pkg' };
  expect(addonCandidates({ ...places, override: '/x/y.node' })).toEqual(['/x/y.node']);
  expect(addonCandidates(places)).toEqual([
    homeAddonPath(dir),
    '/pkg/build/Release/flashmoe.node',
    '/pkg/prebuilds/linux-x64/flashmoe.node',
  ]);
});

test('a binary of another contract is passed over for the next one', async () => {
  const stale = await fakeAddon('stale', 'exports.contract = 0');
  const good = await fakeAddon('good', 'exports.contract = 9');
  expect(loadAddon([stale, good]).path).toBe(good);
});

test('a prebuilt addon is loaded only with the hash that its release recorded', async () => {
  const folder = join(dir, 'prebuilds', 'linux-x64');
  await mkdir(folder, { recursive: true });
  const path = join(folder, 'flashmoe.node.cjs');
  const source = 'exports.contract = 9';
  await writeFile(path, source);
  expect(thrownBy(() => loadAddon([path])).message).toContain(`${path}: has no recorded sha256`);
  const sha256 = createHash('sha256').update(source).digest('hex');
  await writeFile(`${path}.sha256`, `${sha256}  flashmoe.node\n`);
  expect(loadAddon([path]).path).toBe(path);
  await writeFile(path, `${source}; process.exit(3)`);
  expect(thrownBy(() => loadAddon([path])).message).toContain(`recorded is ${sha256}`);
});

test('when nothing loads the error names each path and its reason', async () => {
  const stale = await fakeAddon('stale', 'exports.contract = 999');
  const garbage = join(dir, 'garbage.node');
  await writeFile(garbage, 'not an ELF file');
  await mkdir(join(dir, 'engine'));
  const absent = homeAddonPath(join(dir, 'engine'));
  const error = thrownBy(() => loadAddon([absent, stale, garbage]));
  expect(error.code).toBe('ERR_ENGINE');
  expect(error.message).toContain(`${absent}: not there`);
  expect(error.message).toContain(`${stale}: speaks contract 999`);
  expect(error.message).toContain(`${garbage}: `);
  expect(error.hint).toContain('flashmoe setup');
});

test('an abort cancels the job and is reported only after the job let go', async () => {
  const controller = new AbortController();
  const log: string[] = [];
  let reject: (error: Error) => void = () => undefined;
  const done = new Promise<never>((_, no) => (reject = no));
  const job = { done, cancel: () => void log.push('cancelled') };
  const outcome = runJob(job, controller.signal).catch((error: unknown) => {
    log.push('reported');
    return error;
  });
  controller.abort();
  await Promise.resolve();
  log.push('native work ends');
  reject(Object.assign(new Error('stopped'), { code: 'ERR_INTERRUPTED' }));
  expect(await outcome).toMatchObject({ code: 'ERR_INTERRUPTED' });
  expect(log).toEqual(['cancelled', 'native work ends', 'reported']);
});

test('a job handed an aborted signal is cancelled at once', async () => {
  let cancelled = false;
  const done = Promise.reject(Object.assign(new Error('stopped'), { code: 'ERR_INTERRUPTED' }));
  const job = { done, cancel: () => void (cancelled = true) };
  await expect(runJob(job, AbortSignal.abort())).rejects.toMatchObject({ code: 'ERR_INTERRUPTED' });
  expect(cancelled).toBe(true);
});

test('a full disk in native code becomes a resumable disk error', async () => {
  const done = Promise.reject(
    Object.assign(new Error('layer_00.bin: no space'), { code: 'ENOSPC' }),
  );
  await expect(runJob({ done, cancel: () => undefined })).rejects.toMatchObject({
    name: 'FlashmoeError',
    code: 'ERR_DISK_FULL',
    resumable: true,
  });
});

test('a signal that was aborted before is an interruption, even where the job is done before the word reaches it', async () => {
  let cancelled = false;
  const job = { done: Promise.resolve(1), cancel: () => (cancelled = true) };
  await expect(runJob(job, AbortSignal.abort())).rejects.toMatchObject({ code: 'ERR_INTERRUPTED' });
  expect(cancelled).toBe(true);
});
