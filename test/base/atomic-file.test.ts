import { mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { writeFileAtomic } from '../../src/base/atomic-file.js';
import { start } from '../helpers/child.js';

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fm-atomic-'));
});
afterEach(() => rm(folder, { recursive: true }));

describe('writeFileAtomic', () => {
  it('replaces a file and leaves nothing beside it', async () => {
    const path = join(folder, 'a.json');
    await writeFileAtomic(path, 'one', 0o600);
    await writeFileAtomic(path, 'two', 0o600);
    expect(await readFile(path, 'utf8')).toBe('two');
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect(await readdir(folder)).toEqual(['a.json']);
  });

  it('replaces a symbolic link instead of writing through it', async () => {
    await writeFile(join(folder, 'precious'), 'kept');
    await symlink('precious', join(folder, 'a.json'));
    await writeFileAtomic(join(folder, 'a.json'), 'new');
    expect(await readFile(join(folder, 'precious'), 'utf8')).toBe('kept');
    expect(await readFile(join(folder, 'a.json'), 'utf8')).toBe('new');
  });

  it('keeps the old content and removes its temporary file when the rename cannot be', async () => {
    await writeFile(join(folder, 'file'), '');
    await expect(writeFileAtomic(join(folder, 'file', 'a.json'), 'x')).rejects.toMatchObject({
      code: 'ENOTDIR',
    });
    expect(await readdir(folder)).toEqual(['file']);
  });

  it('never shows half a file to a reader, however often its writer is killed', async () => {
    const path = join(folder, 'a.json');
    await writeFileAtomic(path, 'x'.repeat(100_000));
    for (let round = 0; round < 4; round += 1) {
      const writer = start(new URL('./programs/atomic-writer.ts', import.meta.url), [path]);
      await writer.line();
      for (let reads = 0; reads < 20; reads += 1) {
        const text = await readFile(path, 'utf8');
        expect(text.length).toBe(100_000);
        expect(new Set(text).size).toBe(1);
      }
      writer.process.kill('SIGKILL');
      await writer.ended;
      expect(new Set(await readFile(path, 'utf8')).size).toBe(1);
    }
  });
});
