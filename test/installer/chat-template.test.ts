// A template of the user's own stands in for the repository's: recorded, used, kept by a resumed setup, and replaced
// without a weight being fetched again.

import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { homePaths } from '../../src/base/paths.js';
import { readManifest } from '../../src/store/manifest.js';
import { installationPaths } from '../../src/store/model-files.js';
import { manifestAgain } from '../../src/store/repair/manifest-again.js';
import { readStoredPlan } from '../../src/store/stored-plan.js';
import { only, setUp } from './in-process.js';
import { FIXTURE, hashesBelow } from './provisioned.js';

let folder = '';
let own = '';
let text = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fm-template-'));
  own = join(folder, 'mine.jinja');
  text = `{#- mine -#}\n${await readFile(join(FIXTURE, 'chat_template.jinja'), 'utf8')}`;
  await writeFile(own, text);
});
afterAll(() => rm(folder, { recursive: true }));

const sha256 = (content: string): string => createHash('sha256').update(content).digest('hex');
const pathsAt = (home: string) => installationPaths(homePaths(home), 'tiny', '4bit');

test('it takes the place of the template of the repository, and plan, manifest and receipt have its hash', async () => {
  const home = join(folder, 'home');
  const paths = pathsAt(home);
  const { receipt, error } = await setUp(home, { request: { chatTemplate: own } });
  expect(error).toBeNull();
  const file = { path: 'chat_template.jinja', sha256: sha256(text), option: '--chat-template' };
  expect(receipt?.userFiles).toEqual([file]);
  const manifest = await readManifest(paths.manifest);
  expect(manifest?.userFiles).toEqual([file]);
  expect(manifest?.files).toContainEqual({
    ...{ path: file.path, sha256: file.sha256, size: Buffer.byteLength(text) },
  });
  expect(manifest?.receipt?.userFiles).toEqual([file]);
  expect((await readStoredPlan(paths.plan))?.userFiles).toMatchObject([file]);
  expect(await readFile(join(paths.root, file.path), 'utf8')).toBe(text);
  const again = await manifestAgain(paths);
  expect(again.userFiles).toEqual([file]);

  // Without the option it stays.
  await setUp(home);
  expect((await readManifest(paths.manifest))?.userFiles).toEqual([file]);

  // Another one is only copied.
  const before = await hashesBelow(paths.root);
  const next = `${text}{#- again -#}`;
  await writeFile(own, next);
  const changed = await setUp(home, { request: { chatTemplate: own } });
  expect(changed.error).toBeNull();
  expect(changed.receipt?.userFiles).toMatchObject([{ sha256: sha256(next) }]);
  const shards = only(changed.events, 'shard').map(({ status }) => status);
  expect(new Set(shards)).toEqual(new Set(['skipped']));
  const after = await hashesBelow(paths.root);
  const differing = Object.keys(after).filter((name) => after[name] !== before[name]);
  expect(differing.filter((name) => /\.(bin|safetensors)$/.test(name))).toEqual([]);
  expect(differing).toContain('chat_template.jinja');
}, 120_000);

test('one that cannot be parsed is refused before anything is asked or written', async () => {
  const home = join(folder, 'refused');
  const broken = join(folder, 'broken.jinja');
  await writeFile(broken, '{% for x in %}');
  const { error, events } = await setUp(home, { request: { chatTemplate: broken } });
  expect(error).toMatchObject({ code: 'ERR_TEMPLATE' });
  expect(error?.message).toContain('broken.jinja is no chat template');
  expect(events).toEqual([]);
  await expect(readFile(pathsAt(home).plan)).rejects.toMatchObject({ code: 'ENOENT' });

  await writeFile(broken, Buffer.from([0xff, 0xfe, 0x00]));
  expect((await setUp(home, { request: { chatTemplate: broken } })).error?.code).toBe(
    'ERR_TEMPLATE',
  );
  await writeFile(broken, 'x'.repeat((1 << 20) + 1));
  expect((await setUp(home, { request: { chatTemplate: broken } })).error?.code).toBe(
    'ERR_TEMPLATE',
  );
  const absent = await setUp(home, { request: { chatTemplate: join(folder, 'absent') } });
  expect(absent.error).not.toBeNull();
});
