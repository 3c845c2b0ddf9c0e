import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startBundledHub, type BundledHub } from '../../src/hub/bundled-hub.js';
import { HubClient } from '../../src/hub/client.js';
import { recordingTask, testSettings } from '../helpers/hub/settings.js';

const TINY = fileURLToPath(new URL('../../models/tiny', import.meta.url));
const REPO = 'flashmoe/tiny';

let hub: BundledHub;
let client: HubClient;
let folder: string;

beforeAll(async () => {
  hub = await startBundledHub(TINY, REPO, { pageSize: 4 });
  client = new HubClient(testSettings(hub.endpoint));
  folder = await mkdtemp(join(tmpdir(), 'flashmoe-hub-'));
});

afterAll(async () => {
  client.close();
  await hub.close();
  await rm(folder, { recursive: true });
});

describe('the bundled hub', () => {
  test('every file of the bundled model is listed over several pages and downloads byte for byte', async () => {
    const task = recordingTask();
    const listing = await client.list(REPO, 'main', task);
    expect(listing.commit).toBe(hub.commit);
    expect(listing.files.map(({ path }) => path)).toEqual((await readdir(TINY)).sort());
    for (const file of listing.files) {
      const destination = join(folder, file.path);
      const result = await client.download(listing, file.path, destination, task);
      expect(result.fetchedBytes).toBe(file.size);
      expect((await readFile(destination)).equals(await readFile(join(TINY, file.path)))).toBe(
        true,
      );
    }
    expect((await readdir(folder)).sort()).toEqual(listing.files.map(({ path }) => path));
    expect(task.events.filter(({ type }) => type === 'retry' || type === 'notice')).toEqual([]);
  });

  test('small files and header ranges are read without touching the disk', async () => {
    const task = recordingTask();
    const listing = await client.list(REPO, 'main', task);
    const config = await client.readSmall(listing, 'config.json', 1_000_000, task);
    expect(JSON.parse(config.toString())).toHaveProperty('model_type', 'qwen3_5_moe');
    const shard = 'model-00002-of-00003.safetensors';
    const bytes = await client.readRange(listing, shard, 8, 100, task);
    expect(bytes.equals((await readFile(join(TINY, shard))).subarray(8, 108))).toBe(true);
  });

  test('odd but harmless names, folders and an empty file make the journey', async () => {
    const odd = join(folder, 'odd');
    await mkdir(join(odd, 'deep er'), { recursive: true });
    const names = ['deep er/100% #1?.json', 'empty.txt', 'gr\u00fc\u00dfe.safetensors'];
    for (const name of names) await writeFile(join(odd, name), name === 'empty.txt' ? '' : name);
    const served = await startBundledHub(odd, REPO);
    const other = new HubClient(testSettings(served.endpoint));
    try {
      const task = recordingTask();
      const listing = await other.list(REPO, 'main', task);
      expect(listing.files.map(({ path }) => path)).toEqual(names);
      for (const name of names) {
        const destination = join(folder, 'fetched', name);
        await other.download(listing, name, destination, task);
        expect(await readFile(destination, 'utf8')).toBe(name === 'empty.txt' ? '' : name);
      }
    } finally {
      other.close();
      await served.close();
    }
  });

  test('the commit depends on names and contents alone', async () => {
    const copies = await Promise.all(
      ['a', 'b'].map(async (name) => {
        const copy = join(folder, 'commits', name);
        await mkdir(join(copy, 'deep'), { recursive: true });
        await writeFile(join(copy, 'config.json'), '{}');
        await writeFile(join(copy, 'deep', 'x.safetensors'), 'weights');
        return copy;
      }),
    );
    const commitOf = async (copy: string) => {
      const started = await startBundledHub(copy, REPO);
      await started.close();
      return started.commit;
    };
    const [a, b] = await Promise.all(copies.map(commitOf));
    expect(a).toMatch(/^[0-9a-f]{40}$/);
    expect(b).toBe(a);
    await writeFile(join(copies[1] ?? '', 'config.json'), '{ }');
    expect(await commitOf(copies[1] ?? '')).not.toBe(a);
  });

  test('large files are redirected to another origin, small ones to a relative cache address', async () => {
    const large = await raw('HEAD', `/${REPO}/resolve/main/model-00001-of-00003.safetensors`);
    const content = await readFile(join(TINY, 'model-00001-of-00003.safetensors'));
    expect(large.status).toBe(302);
    expect(large.headers['x-repo-commit']).toBe(hub.commit);
    expect(large.headers['x-linked-size']).toBe(String(content.length));
    expect(large.headers['x-linked-etag']).toBe(
      `"${createHash('sha256').update(content).digest('hex')}"`,
    );
    expect(new URL(large.headers.location as string).origin).toBe(hub.cdn);
    const small = await raw('GET', `/${REPO}/resolve/main/config.json`);
    expect(small.status).toBe(307);
    expect(small.headers.location).toMatch(/^\/api\/resolve-cache\//);
  });

  test('a signed address stops working when its time is over or a letter of it changes', async () => {
    const brief = await startBundledHub(TINY, REPO, { urlLifetimeMs: -1 });
    try {
      const path = `/${REPO}/resolve/main/model-00001-of-00003.safetensors`;
      const expired = await raw('GET', path, {}, brief.endpoint);
      expect((await fetch(expired.headers.location as string)).status).toBe(403);
      const fresh = await raw('GET', path);
      const location = fresh.headers.location as string;
      expect((await fetch(location)).status).toBe(200);
      expect((await fetch(location.replace('Expires=', 'Expires=9'))).status).toBe(403);
    } finally {
      await brief.close();
    }
  });

  test('paths-info describes the paths that exist', async () => {
    const response = await fetch(`${hub.endpoint}/api/models/${REPO}/paths-info/main`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ paths: ['config.json', 'none'] }),
    });
    expect(await response.json()).toMatchObject([{ type: 'file', path: 'config.json' }]);
  });

  test.each([
    ['another repository', '/other/name/resolve/main/config.json', 404, 'RepoNotFound'],
    ['another revision', `/${REPO}/resolve/v9/config.json`, 404, 'RevisionNotFound'],
    ['a missing file', `/${REPO}/resolve/main/none.json`, 404, 'EntryNotFound'],
    ['a climbing path', `/${REPO}/resolve/main/%2e%2e%2fpackage.json`, 404, 'EntryNotFound'],
    ['an escaped slash', `/${REPO}/resolve/main/..%2f..%2fpackage.json`, 404, 'EntryNotFound'],
    ['an unknown API', `/api/models/${REPO}/commits/main`, 404, 'RepoNotFound'],
  ])('%s is refused with the code the Hub gives', async (_what, path, status, code) => {
    const answer = await raw('GET', path);
    expect(answer.status).toBe(status);
    expect(answer.headers['x-error-code']).toBe(code);
  });

  test('a foreign host name and a method that changes things are refused', async () => {
    expect((await raw('GET', `/api/models/${REPO}`, { host: 'evil.example' })).status).toBe(421);
    expect((await raw('DELETE', `/api/models/${REPO}`)).status).toBe(405);
  });
});

function raw(
  method: string,
  path: string,
  headers: Record<string, string> = {},
  endpoint = hub.endpoint,
): Promise<{ status: number; headers: Record<string, string | string[] | undefined> }> {
  const { hostname, port } = new URL(endpoint);
  return new Promise((resolve, reject) => {
    request({ hostname, port, method, path, headers }, (response) => {
      response.resume();
      resolve({ status: response.statusCode ?? 0, headers: response.headers });
    })
      .once('error', reject)
      .end();
  });
}
