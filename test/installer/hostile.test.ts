import { cp, mkdtemp, open, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { setUp } from './in-process.js';
import { FIXTURE } from './provisioned.js';

const SHARD = 'model-00001-of-00003.safetensors';
const INDEX = 'model.safetensors.index.json';

let folder: string;
let repo: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fm-hostile-'));
  repo = join(folder, 'repo');
  await cp(FIXTURE, repo, { recursive: true });
});
afterEach(() => rm(folder, { recursive: true }));

type Header = Record<string, { shape: number[]; data_offsets: [number, number] }>;

/** The shard under another header, its data as they were. */
async function withHeader(change: (header: Header, names: string[]) => void): Promise<void> {
  const bytes = await readFile(join(repo, SHARD));
  const length = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.subarray(8, 8 + length).toString()) as Header;
  change(
    header,
    Object.keys(header)
      .filter((name) => name !== '__metadata__')
      .sort(),
  );
  const text = Buffer.from(JSON.stringify(header));
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(text.length));
  await writeFile(join(repo, SHARD), Buffer.concat([size, text, bytes.subarray(8 + length)]));
}

describe('a repository is refused before anything is written when', () => {
  it.each([
    [
      'a shard claims a header of 2^60 bytes',
      async () => {
        const file = await open(join(repo, SHARD), 'r+');
        const length = Buffer.alloc(8);
        length.writeBigUInt64LE(1n << 60n);
        await file.write(length, 0, 8, 0);
        await file.close();
      },
    ],
    [
      'two tensors overlap',
      () =>
        withHeader((header, [one = '', two = '']) => {
          header[two] = { ...header[two], ...header[one] } as Header[string];
        }),
    ],
    [
      'a shape is absurd',
      () =>
        withHeader((header, [one = '']) => {
          header[one] = { ...header[one], shape: [2 ** 40, 2 ** 40] } as Header[string];
        }),
    ],
    [
      'a tensor lies behind the end of its shard',
      () =>
        withHeader((header, [one = '']) => {
          header[one] = { ...header[one], data_offsets: [2 ** 50, 2 ** 50 + 2] } as Header[string];
        }),
    ],
    [
      'its index leads out of it',
      async () => {
        const index = JSON.parse(await readFile(join(repo, INDEX), 'utf8')) as {
          weight_map: Record<string, string>;
        };
        const [first = ''] = Object.keys(index.weight_map);
        index.weight_map[first] = '../../evil.safetensors';
        await writeFile(join(repo, INDEX), JSON.stringify(index));
      },
    ],
  ] as [string, () => Promise<void>][])('%s', async (_, spoil) => {
    await spoil();
    const home = join(folder, 'home');
    const { error } = await setUp(home, { request: { bundled: repo, questions: [] } });
    expect(error?.code).toMatch(/^ERR_(SAFETENSORS|PLAN|REMOTE_CONTENT|UNSUPPORTED_MODEL)$/);
    await expect(stat(join(home, 'models'))).rejects.toMatchObject({ code: 'ENOENT' });
  });
});
