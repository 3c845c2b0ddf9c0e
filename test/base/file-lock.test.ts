import { mkdir, mkdtemp, readdir, rename, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { acquireLock, probeLock } from '../../src/base/file-lock.js';
import { start, type Program } from '../helpers/child.js';

const HOLDER = new URL('./programs/lock-holder.ts', import.meta.url);

let folder: string;
let path: string;
let programs: Program[];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fm-lock-'));
  path = join(folder, 'setup.lock');
  programs = [];
});

afterEach(async () => {
  for (const program of programs) program.process.kill('SIGKILL');
  await Promise.all(programs.map((program) => program.ended));
  await rm(folder, { recursive: true });
});

function holder(lock: string, mode = 'hold'): Program {
  const program = start(HOLDER, [lock, mode]);
  programs.push(program);
  return program;
}

describe('a lock', () => {
  it('is refused to a second process, which learns pid and state of the first', async () => {
    const first = holder(path);
    expect(await first.line()).toBe('held');

    await expect(acquireLock(path)).rejects.toMatchObject({
      code: 'ERR_LOCKED',
      message: expect.stringContaining(String(first.process.pid)) as string,
    });
    expect(await probeLock(path)).toMatchObject({
      pid: first.process.pid,
      state: { step: 'pack', layer: 3 },
    });
  });

  it('is free after its owner released it, and leaves nothing behind', async () => {
    const first = holder(path);
    await first.line();
    first.process.stdin?.write('\n');
    expect(await first.line()).toBe('released');

    expect(await readdir(folder)).toEqual([]);
    const lock = await acquireLock(path);
    await lock.release();
    await lock.release();
    expect(await readdir(folder)).toEqual([]);
  });

  it('is taken over from an owner that was killed', async () => {
    const first = holder(path);
    await first.line();
    first.process.kill('SIGKILL');
    await first.ended;

    expect(await probeLock(path)).toBeNull();
    const lock = await acquireLock(path);
    expect(await probeLock(path)).toMatchObject({ pid: process.pid });
    await lock.release();
    expect(await readdir(folder)).toEqual([]);
  });

  it('stays with an owner that is stopped and cannot answer', async () => {
    const first = holder(path);
    await first.line();
    first.process.kill('SIGSTOP');

    await expect(acquireLock(path)).rejects.toMatchObject({ code: 'ERR_LOCKED' });
  });

  it('of a killed owner goes to exactly one of many takers', async () => {
    const takers = Array.from({ length: 5 }, () => holder(path, 'race'));
    for (const taker of takers) expect(await taker.line()).toBe('ready');
    const dead = holder(path);
    await dead.line();
    dead.process.kill('SIGKILL');
    await dead.ended;

    for (const taker of takers) taker.process.stdin?.write('\n');
    const answers = await Promise.all(takers.map((taker) => taker.line()));
    expect(answers.sort()).toEqual([...Array<string>(4).fill('ERR_LOCKED'), 'held']);
  });

  it('admits one holder at a time through hundreds of takes and releases', async () => {
    let inside = 0;
    let most = 0;
    let taken = 0;
    const contend = async (): Promise<void> => {
      for (let round = 0; round < 60; round += 1) {
        try {
          const lock = await acquireLock(path);
          inside += 1;
          most = Math.max(most, inside);
          taken += 1;
          await readdir(folder);
          inside -= 1;
          await lock.release();
        } catch (error) {
          expect(error).toMatchObject({ code: 'ERR_LOCKED' });
        }
      }
    };
    await Promise.all(Array.from({ length: 8 }, contend));
    expect(most).toBe(1);
    expect(taken).toBeGreaterThan(8);
    expect(await readdir(folder)).toEqual([]);
  });

  it('works where the path is too long for a socket, and through a link to it', async () => {
    const deep = join(folder, 'a'.repeat(60), 'b'.repeat(60));
    await mkdir(deep, { recursive: true });
    const first = holder(join(deep, 'setup.lock'));
    expect(await first.line()).toBe('held');

    await symlink(deep, join(folder, 'short'));
    const linked = join(folder, 'short', 'setup.lock');
    await expect(acquireLock(linked)).rejects.toMatchObject({ code: 'ERR_LOCKED' });
    first.process.kill('SIGKILL');
    await first.ended;
    const lock = await acquireLock(linked);
    await lock.release();
    expect(await readdir(deep)).toEqual([]);
  });

  it('clears away what a process left that died just before it had the lock', async () => {
    const asPrepared = async (program: Program): Promise<string> => {
      await program.line();
      const entry = (await readdir(path)).find((name) => name.endsWith('.json')) ?? '';
      const prepared = `${path}.${entry.replace('.json', '')}`;
      await rename(path, prepared);
      return prepared;
    };
    const dead = holder(path);
    await asPrepared(dead);
    dead.process.kill('SIGKILL');
    await dead.ended;
    const alive = await asPrepared(holder(path));

    await acquireLock(path).then((lock) => lock.release());
    expect(await readdir(folder)).toEqual([basename(alive)]);
  });
});
