import { appendFile, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  openJournal,
  parseJournal,
  readJournal,
  type JournalEntry,
  type JournalHeader,
} from '../../src/store/journal.js';
import { reduceJournal } from '../../src/store/state.js';
import { start } from '../helpers/child.js';

const HEADER: JournalHeader = {
  schema: 1,
  repo: 'owner/name',
  revision: 'main',
  commit: 'c'.repeat(40),
  plan: 'f'.repeat(64),
  quant: '4bit',
  startedAt: '2026-01-02T03:04:05.000Z',
};
const SHA = 'a'.repeat(64);
const LINES: JournalEntry[] = [
  { step: 'verified', shard: 's1', bytes: 10, sha256: SHA },
  { step: 'dense', shard: 's1', bytes: 4 },
  { step: 'packed', layer: 0, file: 'packed_experts/layer_00.bin', bytes: 6, sha256: SHA },
  { step: 'released', shard: 's1' },
];

let folder: string;
let path: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fm-journal-'));
  path = join(folder, 'journal.ndjson');
});
afterEach(() => rm(folder, { recursive: true }));

async function written(): Promise<Buffer> {
  const journal = await openJournal(path, HEADER);
  for (const line of LINES) await journal.append(line);
  await journal.close();
  return readFile(path);
}

describe('a journal', () => {
  it('gives back at opening what was appended, and keeps the first header', async () => {
    await written();
    const again = await openJournal(path, { ...HEADER, startedAt: '2026-09-09T09:09:09.000Z' });
    expect(again.entries).toEqual(LINES);
    expect(again.header.startedAt).toBe(HEADER.startedAt);
    await again.close();
  });

  it('cut off at any byte gives the whole lines before it, and can be appended to', async () => {
    const whole = await written();
    const headerEnd = whole.indexOf(10) + 1;
    for (let cut = headerEnd; cut < whole.length; cut += 7) {
      await writeFile(path, whole.subarray(0, cut));
      const lines = whole.subarray(0, cut).filter((byte) => byte === 10).length - 1;
      const journal = await openJournal(path, HEADER);
      expect(journal.entries).toEqual(LINES.slice(0, lines));
      for (const line of LINES.slice(lines)) await journal.append(line);
      await journal.close();
      expect(await readFile(path)).toEqual(whole);
    }
  });

  it('without its first whole line counts as none', async () => {
    const whole = await written();
    for (const cut of [0, 1, whole.indexOf(10)]) {
      await writeFile(path, whole.subarray(0, cut));
      expect(await readJournal(path)).toBeNull();
    }
    expect(await readJournal(join(folder, 'absent'))).toBeNull();
  });

  it('loses a last line that a power cut filled with zeros', async () => {
    const whole = await written();
    await appendFile(path, Buffer.alloc(60));
    expect((await readJournal(path))?.entries).toEqual(LINES);
    expect((await readJournal(path))?.length).toBe(whole.length);
  });

  it('with a bad line that is not the last is an error that names the line', async () => {
    const lines = (await written()).toString().split('\n');
    lines[2] = '{"step":"dense","sh';
    await writeFile(path, lines.join('\n'));
    await expect(readJournal(path)).rejects.toMatchObject({
      code: 'ERR_JOURNAL',
      message: expect.stringContaining('line 3') as string,
    });
  });

  it('with a step of a newer version is an error, even in its last line', () => {
    const text = `${JSON.stringify(HEADER)}\n{"step":"teleported","shard":"s1"}\n`;
    expect(() => parseJournal(path, Buffer.from(text))).toThrow(/line 2/);
  });

  it.each([
    [{ repo: 'owner/other' }, 'repository owner/name there, owner/other now'],
    [{ commit: 'd'.repeat(40), plan: '0'.repeat(64) }, 'commit cccc'],
    [{ quant: '2bit', plan: '0'.repeat(64) }, 'quantisation 4bit there, 2bit now'],
    [{ plan: '0'.repeat(64) }, 'plan ffffffffffff there, 000000000000 now'],
  ] as const)('of another run is not continued: %o', async (change, words) => {
    const before = await written();
    await expect(openJournal(path, { ...HEADER, ...change })).rejects.toMatchObject({
      code: 'ERR_JOURNAL',
      message: expect.stringContaining(words) as string,
      hint: expect.stringContaining(folder) as string,
    });
    expect(await readFile(path)).toEqual(before);
  });

  it('is not followed through a symbolic link', async () => {
    await written();
    await symlink(path, join(folder, 'link'));
    await expect(openJournal(join(folder, 'link'), HEADER)).rejects.toMatchObject({
      code: 'ELOOP',
    });
  });

  it('keeps the order of appends that overlap', async () => {
    const journal = await openJournal(path, HEADER);
    await Promise.all(LINES.map((line) => journal.append(line)));
    await journal.close();
    expect((await readJournal(path))?.entries).toEqual(LINES);
  });

  it('is the state as well: every line is a part of it as soon as it is durable, and not before', async () => {
    const journal = await openJournal(path, HEADER);
    for (const [index, line] of LINES.entries()) {
      const appended = journal.append(line);
      expect(journal.state).toEqual(reduceJournal(LINES.slice(0, index)));
      await appended;
      expect(journal.state).toEqual(reduceJournal(LINES.slice(0, index + 1)));
    }
    await journal.close();
    await expect(
      journal.append({ step: 'finished', at: '2026-09-09T09:09:09.000Z' }),
    ).rejects.toThrow();
    expect(journal.state).toEqual(reduceJournal(LINES));
    const again = await openJournal(path, HEADER, reduceJournal([]));
    expect(again.state).toEqual(reduceJournal([]));
    await again.close();
  });

  it('holds every line whose append was reported, when its writer is killed', async () => {
    const writer = start(new URL('./programs/journal-writer.ts', import.meta.url), [
      path,
      JSON.stringify(HEADER),
    ]);
    let last = 0;
    for (let count = 0; count < 25; count += 1) last = Number(await writer.line());
    writer.process.kill('SIGKILL');
    await writer.ended;
    const content = await readJournal(path);
    expect(content?.entries.length).toBeGreaterThanOrEqual(last + 1);
  });
});
