import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Quant } from '../../src/models/quant.js';
import { installationId } from '../../src/store/model-files.js';
import { start } from '../helpers/child.js';
import { failingDisk } from '../helpers/disk/failing-disk.js';
import { setUp } from './in-process.js';
import type { Attempt } from './programs/failing-disk.js';
import { fixture } from '../repack/fixtures.js';
import { hashesBelow } from './provisioned.js';

const library = failingDisk();
const PROGRAM = new URL('./programs/failing-disk.ts', import.meta.url);
const WRITES = ['open', 'write', 'truncate', 'sync', 'rename'];

/** One small file goes the way of all, and three layers go the way of many. */
const NOT_NEEDED = /(generation_config|tokenizer_config)\.json$|chat_template/;

let folder: string;
let repo: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fm-disk-'));
  repo = join(folder, 'repo');
  await cp(fixture('qwen3_moe'), repo, {
    recursive: true,
    filter: (path) => !NOT_NEEDED.test(path),
  });
});
afterAll(() => rm(folder, { recursive: true }));

/** Setups until one is whole; and what failed in them: "operation path error". */
async function onFailingDisk(
  home: string,
  errors: string,
  quant: Quant = '4bit',
): Promise<{ attempts: Attempt[]; failures: string[] }> {
  const program = start(PROGRAM, [home, repo, quant, errors], {
    LD_PRELOAD: library ?? '',
    FM_DISK_ROOT: home,
  });
  const attempts: Attempt[] = [];
  for (;;) {
    const line = await program.line().catch(() => null);
    if (line === null) break;
    attempts.push(JSON.parse(line) as Attempt);
  }
  await program.ended;
  return { attempts, failures: program.stderr().trim().split('\n') };
}

async function expectUndisturbedFiles(home: string, quant: Quant = '4bit'): Promise<void> {
  const alone = join(folder, 'alone');
  await setUp(alone, { quant, request: { bundled: repo, questions: [] } });
  const rootIn = (of: string): string => join(of, 'models', installationId('tiny', quant));
  expect(await hashesBelow(rootIn(home))).toEqual(await hashesBelow(rootIn(alone)));
}

/** The kinds of files that a setup by ranges writes. */
const KINDS = [
  ...['plan.json', 'journal.ndjson', 'download/spool', 'download/spool.mark', 'manifest.json'],
  ...['layer_*.bin.partial', 'model_weights.bin.partial', 'tokenizer.json', 'blocks.json'],
];

// Every failure is one more start of a process, and a full disk is waited for: minutes on a busy machine.
describe.skipIf(library === null)('a disk', { timeout: 600_000 }, () => {
  it('on which each operation on each file fails once with EIO, EROFS or EACCES loses nothing: each run says where it failed and how to go on', async () => {
    const home = join(folder, 'errors');
    const { attempts, failures } = await onFailingDisk(home, 'EIO,EROFS,EACCES');
    expect(attempts.at(-1)?.code, JSON.stringify(attempts.at(-1))).toBeNull();
    for (const { code, message, resumable } of attempts.slice(0, -1)) {
      expect([code, resumable], message).toEqual(['ERR_IO', true]);
      expect(message).toMatch(/\/|\.(jinja|json)/);
      expect(message).toMatch(/everything that was finished is kept$/);
    }
    for (const kind of KINDS) {
      expect(failures.filter((line) => line.includes(kind)).length, kind).toBeGreaterThan(1);
    }
    for (const write of WRITES) {
      expect(failures.some((line) => line.startsWith(write))).toBe(true);
    }
    await expectUndisturbedFiles(home);
    console.log(`${failures.length} failures in ${attempts.length} runs`);
  });

  it('on which each operation fails once, in turn with every one of these errors, loses nothing at 2 bits either', async () => {
    const home = join(folder, 'narrow');
    const { attempts, failures } = await onFailingDisk(home, 'EIO,ENOSPC,EROFS,EACCES', '2bit');
    expect(attempts.at(-1)?.code, JSON.stringify(attempts.at(-1))).toBeNull();
    for (const kind of [...KINDS, 'download/params-']) {
      expect(failures.filter((line) => line.includes(kind)).length, kind).toBeGreaterThan(1);
    }
    await expectUndisturbedFiles(home, '2bit');
    console.log(`${failures.length} failures in ${attempts.length} runs`);
  });

  it('that is full once at each operation on each file is waited for, and nothing is lost', async () => {
    const home = join(folder, 'full');
    const { attempts, failures } = await onFailingDisk(home, 'ENOSPC');
    expect(attempts.at(-1)?.code, JSON.stringify(attempts.at(-1))).toBeNull();
    const ended = attempts.filter(
      ({ code, message }) => code !== null && !/lock|mkdir|fsync/.test(message),
    );
    // Before the lock is held, and when it is given back, nobody waits.
    expect(ended).toEqual([]);
    const waits = attempts.flatMap(({ waits: reasons }) => reasons);
    expect(waits.length).toBeGreaterThan(failures.length / 3);
    expect(waits.every((reason) => reason.includes('the disk is full'))).toBe(true);
    await expectUndisturbedFiles(home);
    console.log(`${failures.length} times full, ${waits.length} waits, ${attempts.length} runs`);
  });
});
