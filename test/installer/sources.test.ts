// Sources as they are out there: repositories, mirrors, proxies and storages that disagree with the listing in what is
// no hash. Each is set up in this process, from a real hub or a folder, down to its known answers.

import {
  cp,
  mkdir,
  mkdtemp,
  readFile,
  rename,
  rm,
  symlink,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { currentHost } from '../../src/base/host.js';
import { homePaths } from '../../src/base/paths.js';
import { openEngine } from '../../src/engine/open-engine.js';
import { openSetup } from '../../src/installer/setup.js';
import type { InstallEvent } from '../../src/jobs/events.js';
import { neededFree } from '../../src/store/disk-usage.js';
import { FaultHub, type Rule } from '../helpers/hub/fault-hub.js';
import { answer, withHeaders } from '../helpers/hub/faults.js';
import { testSettings } from '../helpers/hub/settings.js';
import { only, setUp, type RunOptions, type RunResult } from './in-process.js';
import { FIXTURE } from './provisioned.js';

const SHARDS = [1, 2, 3].map((i) => `model-0000${i}-of-00003.safetensors`);
const INDEX = 'model.safetensors.index.json';

type Tensor = [name: string, dtype: string, shape: number[], bytes: Buffer];
type Edit = (at: string) => Promise<void>;

let folder = '';
beforeAll(async () => (folder = await mkdtemp(join(tmpdir(), 'fm-sources-'))));
afterAll(() => rm(folder, { recursive: true }));

async function readShard(path: string): Promise<Tensor[]> {
  const file = await readFile(path);
  const start = 8 + Number(file.readBigUInt64LE());
  const header = JSON.parse(file.subarray(8, start).toString()) as Record<
    string,
    { dtype: string; shape: number[]; data_offsets: [number, number] }
  >;
  delete header.__metadata__;
  return Object.entries(header).map(
    ([
      name,
      {
        dtype,
        shape,
        data_offsets: [from, to],
      },
    ]) => [...([name, dtype, shape] as const), file.subarray(start + from, start + to)],
  );
}

async function writeShard(path: string, tensors: Tensor[], metadata?: unknown): Promise<void> {
  const header: Record<string, unknown> = metadata === undefined ? {} : { __metadata__: metadata };
  let at = 0;
  for (const [name, dtype, shape, bytes] of tensors) {
    header[name] = { dtype, shape, data_offsets: [at, (at += bytes.length)] };
  }
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  await writeFile(path, Buffer.concat([length, json, ...tensors.map(([, , , bytes]) => bytes)]));
}

async function editIndex(at: string, change: (map: Record<string, string>) => void): Promise<void> {
  const index = JSON.parse(await readFile(join(at, INDEX), 'utf8')) as {
    weight_map: Record<string, string>;
  };
  change(index.weight_map);
  await writeFile(join(at, INDEX), JSON.stringify(index));
}

async function repository(name: string, edit: Edit = () => Promise.resolve()): Promise<string> {
  const at = join(folder, `repo-${name}`);
  await cp(FIXTURE, at, { recursive: true });
  await rm(join(at, 'golden.safetensors'));
  await edit(at);
  return at;
}

interface Case {
  edit?: Edit;
  rules?: Rule[];
  pageSize?: number;
  request?: RunOptions['request'];
}

async function fromHub(
  name: string,
  { edit, rules = [], pageSize, request }: Case,
): Promise<RunResult> {
  const options = pageSize === undefined ? {} : { pageSize };
  const hub = await FaultHub.start(await repository(name, edit), 'acme/tiny', options);
  for (const rule of rules) hub.rule(rule);
  try {
    return await setUp(join(folder, `home-${name}`), {
      request: { ...{ repo: 'acme/tiny', bundled: null, model: 'acme--tiny' }, ...request },
      world: { hub: testSettings(hub.endpoint) },
    });
  } finally {
    await hub.close();
  }
}

const stale: Edit = (at) =>
  editIndex(at, (map) => {
    for (const name in map) map[name] = map[name]?.replace('of-00003', 'of-00030') ?? '';
  });
const single: Edit = async (at) => {
  const all: Tensor[] = [];
  for (const shard of SHARDS) {
    all.push(...(await readShard(join(at, shard))));
    await rm(join(at, shard));
  }
  await writeShard(join(at, 'model.safetensors'), all);
};
/** As an interrupted download leaves it. */
async function torn(at: string): Promise<void> {
  const text = await readFile(join(at, INDEX), 'utf8');
  await writeFile(join(at, INDEX), text.slice(0, text.length / 2));
}

/** The copy in the shard is spoilt: only the one that the index names answers rightly. */
const overlay: Edit = async (at) => {
  const path = join(at, SHARDS[0] ?? '');
  const tensors = await readShard(path);
  const good = tensors.find(([name]) => name.includes('norm'));
  if (good === undefined) throw new Error('no norm in the first shard');
  await writeShard(join(at, 'model-overlay-00001.safetensors'), [good]);
  const spoilt = tensors.map((tensor): Tensor =>
    tensor === good ? [good[0], good[1], good[2], Buffer.alloc(good[3].length, 17)] : tensor,
  );
  await writeShard(path, spoilt);
  await editIndex(at, (map) => (map[good[0]] = 'model-overlay-00001.safetensors'));
};
const nullMetadata: Edit = async (at) => {
  for (const shard of SHARDS) {
    await writeShard(join(at, shard), await readShard(join(at, shard)), null);
  }
};
const twins: Edit = async (at) => {
  await mkdir(join(at, 'assets'));
  for (const name of ['Logo.png', 'logo.png']) await writeFile(join(at, 'assets', name), name);
};
let edges = 0;

test.each<[string, Case, RegExp | null]>([
  ['an index that names other shards', { edit: stale }, /index.json is stale/],
  ['an index that is not JSON', { edit: torn }, /index.json is not JSON; the headers/],
  ['one file beside the index of another form', { edit: single }, /index.json is stale/],
  ['an overlay that the index prefers', { edit: overlay }, null],
  ['metadata that is null', { edit: nullMetadata }, null],
  ['two names that are one on a Mac', { edit: twins }, null],
  [
    'a mirror whose next page is at the Hub',
    {
      pageSize: 4,
      rules: [
        {
          on: 'hub',
          path: /\/tree\//,
          fault: (exchange) => {
            const link = String(exchange.headers.link ?? '').replace(
              /http:\/\/[^/]+/,
              'https://huggingface.co',
            );
            return link === '' ? exchange.send() : withHeaders({ link })(exchange);
          },
        },
      ],
    },
    null,
  ],
  [
    'an ETag that is the hash of something else',
    {
      rules: [
        {
          on: 'hub',
          path: /\/resolve\//,
          fault: withHeaders({ 'x-linked-etag': undefined, etag: `"${'e'.repeat(64)}"` }),
        },
      ],
    },
    null,
  ],
  [
    'a size of 0 in a header',
    { rules: [{ on: 'hub', path: /\/resolve\//, fault: withHeaders({ 'x-linked-size': '0' }) }] },
    null,
  ],
  [
    'a storage that says 400 to an address once',
    {
      rules: [
        {
          on: 'cdn',
          after: 7,
          times: 1,
          fault: answer(400, { 'content-type': 'application/xml' }),
        },
      ],
    },
    null,
  ],
  [
    'an ETag of each edge',
    {
      rules: [
        { on: 'cdn', fault: (exchange) => withHeaders({ etag: `"edge${edges++ % 2}"` })(exchange) },
      ],
    },
    /several ETags/,
  ],
])('%s is set up and answers', async (name, given, notice) => {
  const { events, error, receipt } = await fromHub(name.replace(/\W/g, '-'), given);
  expect(error).toBeNull();
  expect(receipt).not.toBeNull();
  const notices = only(events, 'notice').map(({ message }) => message);
  if (notice !== null) expect(notices.join('\n')).toMatch(notice);
});

test('a gated repository says so, and where its licence is, before anything is fetched', async () => {
  const gated = answer(401, { 'x-error-code': 'GatedRepo' });
  const rules = [{ on: 'hub' as const, path: /\/resolve\//, fault: gated }];
  const { error } = await fromHub('gated', { rules });
  expect(error).toMatchObject({ code: 'ERR_AUTH' });
  expect(error?.message).toContain('acme/tiny is gated');
  expect(error?.hint).toMatch(/accept the licence at http:.*\/acme\/tiny/);
});

test('shards that are links to another disk are used, and that is said', async () => {
  const disk = join(folder, 'disk');
  await mkdir(disk);
  const from = await repository('links', async (at) => {
    for (const shard of SHARDS) {
      await rename(join(at, shard), join(disk, shard));
      await symlink(join(disk, shard), join(at, shard));
    }
  });
  const request = { repo: 'local/links', bundled: null, model: 'local--links', from };
  const { error, events } = await setUp(join(folder, 'home-links'), { request });
  expect(error).toBeNull();
  const notices = only(events, 'notice').map(({ message }) => message);
  expect(notices.join('\n')).toContain('links to another folder, followed');
});

test.each([
  ['lacks a shard', 'rest'],
  ['has a shard that is another', 'spoilt'],
])('a folder that %s is used for what it has, and the hub for the rest', async (_, kind) => {
  const whole = await repository(`whole-${kind}`);
  const from = await repository(`part-${kind}`, async (at) => {
    await rm(join(at, SHARDS[1] ?? ''));
    if (kind !== 'spoilt') return;
    const bytes = await readFile(join(at, SHARDS[2] ?? ''));
    bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
    await writeFile(join(at, SHARDS[2] ?? ''), bytes);
  });
  const hub = await FaultHub.start(whole, 'acme/tiny');
  try {
    const { error, events } = await setUp(join(folder, `home-part-${kind}`), {
      request: { ...{ repo: 'acme/tiny', bundled: null, model: 'acme--tiny' }, from },
      world: { hub: testSettings(hub.endpoint) },
    });
    expect(error).toBeNull();
    const asked = hub.log.filter(
      ({ side, path }) => side === 'hub' && path.endsWith('.safetensors'),
    );
    const shards = [
      ...new Set(asked.map(({ path }) => path.slice(path.lastIndexOf('/') + 1))),
    ].sort();
    expect(shards).toEqual(kind === 'spoilt' ? SHARDS.slice(1) : [SHARDS[1]]);
    const notices = only(events, 'notice').map(({ message }) => message);
    expect(notices.join('\n')).toContain('holds a part of acme/tiny');
  } finally {
    await hub.close();
  }
});

test('a folder is planned from headers at once, however large its shards are', async () => {
  const from = await repository('large', async (at) => {
    // A hole of 200 GB that belongs to no tensor: hashing it would take minutes.
    await truncate(join(at, SHARDS[2] ?? ''), 200e9);
  });
  const [abort, events] = [new AbortController(), [] as InstallEvent[]];
  const setup = await openSetup(
    {
      ...{ model: 'local--large', repo: 'local/large', revision: 'main', quant: '4bit', from },
      ...{ bundled: null, questions: [], bytesPerSecond: 0, resumeCommand: '', planOnly: true },
    },
    {
      ...{ home: homePaths(join(folder, 'home-large')), host: currentHost(), openEngine },
      ...{ hub: testSettings('http://127.0.0.1:1'), installService: null },
    },
    { emit: (event) => events.push(event), signal: abort.signal },
  );
  await setup.close();
  expect(setup.plan.summary.downloadBytes).toBeGreaterThan(200e9);
  expect(only(events, 'progress')).toEqual([]);
  const { peakBytes, neededBytes } = setup.plan.summary;
  expect(neededBytes).toBe(neededFree(peakBytes, 0));
});

test('thousands of unknown tensors are one line with a count and a few names', async () => {
  const many: Edit = async (at) => {
    const path = join(at, SHARDS[0] ?? '');
    const more = Array.from({ length: 20_000 }, (_, i): Tensor => [
      `model.adapter.${i}`,
      'F32',
      [1],
      Buffer.alloc(4),
    ]);
    await writeShard(path, [...(await readShard(path)), ...more]);
  };
  const { error } = await fromHub('many', { edit: many });
  expect(error).toMatchObject({ code: 'ERR_UNSUPPORTED_MODEL' });
  expect(error?.message).toMatch(/20000 unknown, 0 missing[^]*and 19992 more$/);
  expect(error?.message.split('\n').length).toBeLessThan(15);
});
