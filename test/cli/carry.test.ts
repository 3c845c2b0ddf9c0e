// Looking after what is on disk: verify --repair, rm, mv, share, --from. Real processes, real HTTP.

import { spawn, type ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { BUILD_MS, buildCli, flashmoe, mainScript, projectRoot } from '../helpers/built-cli.js';
import { FaultHub } from '../helpers/hub/fault-hub.js';
import { drip } from '../helpers/hub/faults.js';
import { hashesBelow } from '../installer/provisioned.js';
import { mountSmallVolume } from '../installer/small-volume.js';

vi.setConfig({ testTimeout: 120_000 });

const folder = mkdtempSync(join(tmpdir(), 'flashmoe-carry-'));
const home = join(folder, 'home');
const root = join(home, 'models/acme--tiny');
let hub: FaultHub;
let hashes: Record<string, string>;
beforeAll(async () => {
  await buildCli();
  hub = await FaultHub.start(join(projectRoot, 'models/tiny'), 'acme/tiny');
  const set = await at(['setup', '--repo', 'acme/tiny', '--no-service', '--yes']);
  expect(set).toMatchObject({ status: 0 });
  hashes = await hashesBelow(root);
}, BUILD_MS);
afterAll(async () => {
  await hub.close();
  rmSync(folder, { recursive: true, force: true });
});

const environment = (extra: Record<string, string> = {}): Record<string, string> => ({
  ...{ FLASHMOE_HOME: home, HF_ENDPOINT: hub.endpoint, ...extra },
});
const at = (args: string[], extra: Record<string, string> = {}) =>
  flashmoe(args, { env: environment(extra) });

function start(args: string[], extra: Record<string, string> = {}): ChildProcess {
  return spawn(process.execPath, [mainScript, ...args], {
    env: { PATH: process.env['PATH'], ...environment(extra) },
    stdio: 'ignore',
  });
}

/** Without the records of a setup. */
const onlyModel = (all: Record<string, string>): Record<string, string> =>
  Object.fromEntries(
    Object.entries(all).filter(
      ([path]) => !/^(manifest\.json|journal\.ndjson|record\.ndjson|limits\.json)$/.test(path),
    ),
  );

function flip(path: string, at = 1000): void {
  const bytes = readFileSync(path);
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  writeFileSync(path, bytes);
}

describe('verify --repair', () => {
  const layer = join(root, 'packed_experts/layer_02.bin');

  test('fetches what is damaged and nothing else, and says what it fetched', async () => {
    flip(layer);
    flip(join(root, 'tokenizer.json'));
    const found = await at(['verify']);
    expect(found.status).toBe(1);
    expect(found.stdout).toContain('layer_02.bin its content changed in block 0 of 1');
    expect(found.stderr).toContain('hint: `flashmoe verify acme--tiny --repair`');
    hub.reset();
    const { status, stdout } = await at(['verify', '--repair']);
    expect(stdout).toMatch(/layer_02\.bin block 0 made anew, .* fetched/);
    expect(stdout).toMatch(/tokenizer\.json made anew/);
    expect(stdout).toMatch(/acme--tiny: \d+ files, .* every hash is right/);
    expect(status).toBe(0);
    expect(await hashesBelow(root)).toEqual(hashes);
  });

  test('without the network says so, and leaves what it found written down', async () => {
    flip(layer);
    const offline = { HF_HUB_OFFLINE: '1', HF_ENDPOINT: 'https://huggingface.co' };
    const { status, stderr } = await at(['verify', '--repair'], offline);
    expect(status).toBe(69);
    expect(stderr).toMatch(/HF_HUB_OFFLINE/);
    expect(readFileSync(join(root, 'journal.ndjson'), 'utf8').trimEnd()).toMatch(/damaged[^\n]*$/);
  });

  test('that is killed leaves a model known to be damaged, and is simply run again', async () => {
    flip(join(root, 'model_weights.bin'));
    hub.reset();
    hub.rule({ on: 'cdn', fault: drip(4096, 20) });
    const child = start(['verify', '--repair']);
    const ended = once(child, 'exit');
    await vi.waitFor(() => expect(hub.ranges('cdn').length).toBeGreaterThan(1), 60_000);
    child.kill('SIGKILL');
    await ended;
    hub.reset();
    expect((await at(['verify'])).status).toBe(1);
    const { status, stdout } = await at(['verify', '--repair', '--json']);
    expect(status).toBe(0);
    const last = JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '') as object;
    expect(last).toMatchObject({
      ok: true,
      models: [{ id: 'acme--tiny', repaired: [{ blocks: [0] }, { blocks: [0] }] }],
    });
    expect(await hashesBelow(root)).toEqual(hashes);
  });

  test('makes a manifest that can no longer be read anew from the journal', async () => {
    writeFileSync(join(root, 'manifest.json'), '{"format": "flashmoe-mod');
    const found = await at(['verify']);
    expect(found.status).toBe(1);
    expect(found.stdout).toContain('manifest.json is no manifest any more');
    expect((await at(['verify', '--repair'])).status).toBe(0);
    expect((await at(['verify'])).status).toBe(0);
  });
});

describe('mv and rm', () => {
  const big = join(folder, 'big');
  const moved = join(big, 'acme--tiny');

  test('a move that is killed leaves the model whole, and the same command goes on', async () => {
    const volume = mountSmallVolume(big, 64 << 20);
    try {
      const child = spawn(process.execPath, [mainScript, 'mv', 'acme--tiny', big], {
        env: { PATH: process.env['PATH'], ...environment() },
        stdio: ['ignore', 'ignore', 'pipe'],
      });
      const ended = once(child, 'exit');
      child.stderr.once('data', () => child.kill('SIGKILL'));
      await ended;
      expect((await at(['verify'])).status).toBe(0);
      const { status, stdout, stderr } = await at(['mv', 'acme--tiny', big]);
      expect({ status, stderr }).toMatchObject({ status: 0 });
      const how = volume === null ? 'same volume' : 'copied, read back, every hash right';
      expect(stdout).toContain(`acme--tiny is at ${moved}`);
      expect(stdout).toContain(how);
      expect(await hashesBelow(moved)).toEqual(hashes);
      expect(readdirSync(root)).toEqual(['location.json']);

      expect((await at(['verify'])).stdout).toContain('every hash is right');
      const status2 = await at(['status', '--json']);
      expect(JSON.parse(status2.stdout)).toMatchObject({ models: [{ state: 'ready' }] });
      const asked = await at(['run', '--max-tokens', '2', 'hello']);
      expect(asked).toMatchObject({ status: 0 });
    } finally {
      volume?.unmount();
    }
    if (volume === null) renameSync(big, `${big}-away`);
  });

  test('a service waits for the place that a model was moved to, and names it', async () => {
    const child = spawn(process.execPath, [mainScript, 'serve', '--port', '0', '--as-service'], {
      env: { PATH: process.env['PATH'], ...environment() },
      stdio: 'ignore',
    });
    const ended = once(child, 'exit');
    const log = join(home, 'logs/server.log');
    await vi.waitFor(
      () => expect(readFileSync(log, 'utf8')).toContain(`waiting for ${moved}, where`),
      60_000,
    );
    child.kill('SIGTERM');
    expect(await ended).toEqual([0, null]);
    const run = await at(['run', 'hello']);
    expect(run.stderr).toContain(`${moved}, where it was moved to, is not there`);
    const { stdout } = await at(['status', '--json']);
    expect(JSON.parse(stdout)).toMatchObject({
      models: [{ state: 'away', why: expect.stringContaining('attach the disk') as string }],
    });
    const gone = await at(['rm', 'acme--tiny', '--yes']);
    expect(gone.status).toBe(1);
    expect(gone.stderr).toContain('nothing was deleted');
  });

  test('rm shows what would go, wants --yes, and then removes model, prompts and pointer', async () => {
    rmSync(root, { recursive: true });
    const set = await at(['setup', '--repo', 'acme/tiny', '--no-service', '--yes']);
    expect(set.status).toBe(0);
    const place = join(folder, 'place');
    mkdirSync(place);
    expect((await at(['mv', 'acme--tiny', place])).status).toBe(0);
    mkdirSync(join(home, 'prompts/acme--tiny'), { recursive: true });
    const [key, hash] = ['0'.repeat(16), '0'.repeat(32)];
    const prompts = join(home, 'prompts/acme--tiny');
    writeFileSync(join(prompts, `${key}-0-4-${hash}-${hash}.state`), 'x');
    writeFileSync(join(prompts, 'notes.txt'), 'mine');
    writeFileSync(`${prompts}.hottest`, '0 1\n');
    writeFileSync(join(place, 'acme--tiny/notes.txt'), 'mine');

    const dry = await at(['rm', 'acme--tiny', '--dry-run']);
    expect(dry.stdout).toContain(`${place}/acme--tiny/notes.txt, not ours`);
    expect(dry.stdout).toContain(`${prompts}/notes.txt, not ours`);
    const narrower = await at(['rm', 'acme--tiny', '--quant', '2bit', '--yes']);
    expect(narrower).toMatchObject({ status: 1 });
    expect(narrower.stderr).toContain('acme--tiny at 2bit is not here; nothing was deleted');
    const asked = await at(['rm', 'acme--tiny']);
    expect(asked.status).toBe(64);
    expect(asked.stderr).toContain('hint: `flashmoe rm acme--tiny --yes` deletes what is listed');
    expect((await at(['rm', 'acme--tiny', '--yes'])).status).toBe(0);
    expect(readdirSync(join(place, 'acme--tiny'))).toEqual(['notes.txt']);
    expect(readdirSync(join(home, 'models'))).toEqual([]);
    expect(readdirSync(prompts)).toEqual(['notes.txt']);
    expect(readdirSync(join(home, 'prompts'))).toEqual(['acme--tiny']);
  });
});

describe('setup --from', () => {
  const tiny = join(projectRoot, 'models/tiny');
  const shards = readdirSync(tiny).filter((name) => name.endsWith('.safetensors'));
  const elsewhere = { HF_ENDPOINT: 'http://127.0.0.1:1' };
  const fresh = (): { FLASHMOE_HOME: string } => ({
    FLASHMOE_HOME: mkdtempSync(join(folder, 'h-')),
  });
  const set = (args: string[], extra: Record<string, string>) =>
    at(['setup', ...args, '--no-service', '--yes'], extra);

  /** As the Hub's own clients lay it out. */
  function cache(name: string, commit: string): string {
    const top = join(folder, name, 'models--acme--tiny');
    const snapshot = join(top, 'snapshots', commit);
    for (const each of ['blobs', 'refs', `snapshots/${commit}`]) {
      mkdirSync(join(top, each), { recursive: true });
    }
    writeFileSync(join(top, 'refs/main'), commit);
    for (const file of readdirSync(tiny)) {
      const bytes = readFileSync(join(tiny, file));
      const git = createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes);
      const isLarge = file.endsWith('.safetensors');
      const blob = isLarge ? createHash('sha256').update(bytes).digest('hex') : git.digest('hex');
      writeFileSync(join(top, 'blobs', blob), bytes);
      symlinkSync(join('../../blobs', blob), join(snapshot, file));
    }
    return join(folder, name);
  }

  test('a cache of the hub makes the model without a network, and the same one as the hub', async () => {
    const extra = { ...fresh(), ...elsewhere };
    const { status, stderr } = await set(
      ['--from', join(cache('hf', hub.commit), 'models--acme--tiny')],
      extra,
    );
    expect({ status, stderr }).toMatchObject({ status: 0 });
    expect(stderr).toContain('every shard is held against the sha256 that its blob is called by');
    const made = await hashesBelow(join(extra.FLASHMOE_HOME, 'models/acme--tiny'));
    expect(onlyModel(made)).toEqual(onlyModel(hashes));
    // The same setup, from the hub: nothing is left to do.
    const again = await set(['--repo', 'acme/tiny'], { ...extra, HF_ENDPOINT: hub.endpoint });
    expect(again).toMatchObject({ status: 0 });
  });

  test('a blob that is not what its name says ends it by name, and is no model', async () => {
    const top = cache('spoilt', hub.commit);
    const snapshot = join(top, 'models--acme--tiny/snapshots', hub.commit);
    flip(realpathSync(join(snapshot, shards[1] ?? '')), 100_000);
    const extra = { ...fresh(), ...elsewhere };
    const { status, stderr } = await set(['--repo', 'acme/tiny', '--from', top], extra);
    expect(status).toBe(1);
    expect(stderr).toContain(`${shards[1] ?? ''}: sha256 is`);
    expect(existsSync(join(extra.FLASHMOE_HOME, 'models/acme--tiny/manifest.json'))).toBe(false);
  });

  test('a link out of the cache is followed, and said', async () => {
    const top = cache('links', hub.commit);
    const file = join(top, 'models--acme--tiny/snapshots', hub.commit, shards[0] ?? '');
    rmSync(file);
    symlinkSync(join(tiny, shards[0] ?? ''), file);
    const { status, stderr } = await set(['--from', file.slice(0, -(shards[0] ?? '').length)], {
      ...fresh(),
      ...elsewhere,
    });
    expect(stderr).toContain(`${shards[0] ?? ''}: links to another folder, followed`);
    expect(status).toBe(0);
  });

  test('a plain folder is held against the hub that lists it, else says that nobody vouches', async () => {
    hub.reset();
    const extra = fresh();
    const listed = await set(['--repo', 'acme/tiny', '--from', tiny], extra);
    expect(listed).toMatchObject({ status: 0 });
    expect(listed.stderr).toContain(
      `the hashes that the hub lists for acme/tiny at ${hub.commit.slice(0, 12)}`,
    );
    expect(hub.ranges('cdn')).toEqual([]);
    const made = await hashesBelow(join(extra.FLASHMOE_HOME, 'models/acme--tiny'));
    expect(onlyModel(made)).toEqual(onlyModel(hashes));

    const alone = await set(['--from', tiny], { ...fresh(), ...elsewhere });
    expect(alone).toMatchObject({ status: 0 });
    expect(alone.stderr).toContain('nobody vouches for these bytes');
    expect(alone.stdout).toContain('local/tiny');
  });

  test('--keep-source keeps the checkpoint as the hub has it, another width is made of it, and --from refuses it', async () => {
    const extra = fresh();
    const hubbed = { ...extra, HF_ENDPOINT: hub.endpoint };
    const kept = await set(['--repo', 'acme/tiny', '--keep-source'], hubbed);
    expect(kept).toMatchObject({ status: 0 });
    const source = join(extra.FLASHMOE_HOME, 'models/acme--tiny/source');
    for (const shard of shards) {
      expect(readFileSync(join(source, shard)).equals(readFileSync(join(tiny, shard)))).toBe(true);
    }
    const more = ['--repo', 'acme/tiny', '--from', source, '--quant', '2bit'];
    expect(await set(more, { ...extra, ...elsewhere })).toMatchObject({ status: 0 });
    const both = await set(['--repo', 'acme/tiny', '--from', source, '--keep-source'], extra);
    expect(both.status).toBe(64);
    expect(both.stderr).toContain('what --from names is the source already');
  });

  test('a folder of another model, a cut shard and a folder without a checkpoint are refused', async () => {
    const other = await set(['tiny', '--from', cache('other', hub.commit)], fresh());
    expect(other.status).toBe(64);
    const cut = join(folder, 'cut');
    cpSync(tiny, cut, { recursive: true });
    truncateSync(join(cut, shards[0] ?? ''), 1000);
    const short = await set(['--repo', 'acme/tiny', '--from', cut], fresh());
    expect(short.status).toBe(1);
    expect(short.stderr).toContain('(1000 bytes), where');
    const none = await set(['--from', join(folder, 'home')], fresh());
    expect(none.status).toBe(64);
    expect(none.stderr).toContain('holds neither config.json nor a GGUF file');
  });

  test('killed on the way it goes on from the hub', async () => {
    const extra = { ...fresh(), ...elsewhere };
    const from = ['--repo', 'acme/tiny', '--from', cache('killed', hub.commit)];
    const child = start(['setup', ...from, '--no-service', '--yes', '--limit', '2MB/s'], extra);
    const ended = once(child, 'exit');
    const journal = join(extra.FLASHMOE_HOME, 'models/acme--tiny/journal.ndjson');
    await vi.waitFor(() => expect(readFileSync(journal, 'utf8')).toContain('"road"'), 60_000);
    child.kill('SIGKILL');
    await ended;
    const { status } = await set(['--repo', 'acme/tiny', '--limit', 'off'], {
      ...extra,
      HF_ENDPOINT: hub.endpoint,
    });
    expect(status).toBe(0);
    const made = await hashesBelow(join(extra.FLASHMOE_HOME, 'models/acme--tiny'));
    expect(onlyModel(made)).toEqual(onlyModel(hashes));
  });
});

describe('share', () => {
  const elsewhere = { HF_ENDPOINT: 'http://127.0.0.1:1' };
  const source = join(folder, 'shared');
  const fresh = () => ({ FLASHMOE_HOME: mkdtempSync(join(folder, 's-')), ...elsewhere });
  const set = (args: string[], extra: Record<string, string>) =>
    at(['setup', '--no-service', '--yes', ...args], extra);
  let running: ChildProcess[] = [];
  beforeAll(async () => {
    const made = await set(['--repo', 'acme/tiny'], {
      FLASHMOE_HOME: source,
      HF_ENDPOINT: hub.endpoint,
    });
    expect(made).toMatchObject({ status: 0 });
  }, 60_000);
  afterEach(async () => {
    for (const child of running.filter(({ exitCode }) => exitCode === null)) {
      const ended = once(child, 'exit');
      child.kill('SIGTERM');
      expect(await ended).toEqual([0, null]);
    }
    running = [];
  });

  async function share(...args: string[]): Promise<{ url: string; key?: string }> {
    const child = spawn(process.execPath, [mainScript, 'share', '--port', '0', '--json', ...args], {
      env: { PATH: process.env['PATH'], ...environment({ FLASHMOE_HOME: source }) },
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    running.push(child);
    const [line] = (await once(child.stdout, 'data')) as [Buffer];
    return JSON.parse(line.toString()) as { url: string; key?: string };
  }
  const modelOf = (extra: { FLASHMOE_HOME: string }) =>
    join(extra.FLASHMOE_HOME, 'models/acme--tiny');

  test('a shared model is copied whole without any hub, and answers', async () => {
    const { url } = await share();
    const extra = fresh();
    const { status, stderr, stdout } = await set(['--from', url], extra);
    expect({ status, stderr }).toMatchObject({ status: 0 });
    expect(stdout).toContain('acme/tiny');
    expect(await hashesBelow(modelOf(extra))).toEqual(
      await hashesBelow(join(source, 'models/acme--tiny')),
    );
    expect((await at(['verify'], extra)).stdout).toContain('every hash is right');
    const other = await set(['--from', url, '--quant', '2bit'], fresh());
    expect(other.status).toBe(64);
    expect(other.stderr).toContain('shares acme--tiny at 4bit, not acme--tiny at 2bit');
  });

  test('an address that others reach wants the key that was made for it', async () => {
    const { url, key = '' } = await share('--host', '0.0.0.0');
    const near = url.replace('0.0.0.0', '127.0.0.1');
    const without = await at(['plan', '--from', near], fresh());
    expect(without.status).toBe(77);
    expect(without.stderr).toContain('hint: set FLASHMOE_SHARE_KEY');
    const wrong = await at(['plan', '--from', near], { ...fresh(), FLASHMOE_SHARE_KEY: `${key}x` });
    expect(wrong.status).toBe(77);
    const right = await at(['plan', '--from', near], { ...fresh(), FLASHMOE_SHARE_KEY: key });
    expect(right).toMatchObject({ status: 0 });
    expect(right.stdout + right.stderr).not.toContain(key);
  });

  test('only its own files are served, and on loopback only to its own name', async () => {
    const { url } = await share();
    const at = (path: string, init?: RequestInit) => fetch(`${url}${path}`, init);
    const base = '/flashmoe/shared/resolve/main';
    expect((await at(`${base}/config.json`)).status).toBe(200);
    for (const path of ['journal.ndjson', '..%2fsettings.json', '%2e%2e/settings.json']) {
      expect((await at(`${base}/${path}`)).status).toBe(404);
    }
    expect((await at(`${base}/config.json`, { method: 'POST' })).status).toBe(405);
    const foreign = await new Promise<number | undefined>((resolve, reject) => {
      request(`${url}${base}/config.json`, { headers: { host: 'evil.example' } }, (answer) => {
        answer.resume();
        resolve(answer.statusCode);
      })
        .on('error', reject)
        .end();
    });
    expect(foreign).toBe(421);
  });

  test('a block that is wrong twice ends it by name, and what was right is kept', async () => {
    const layer = 'packed_experts/layer_02.bin';
    const { url } = await share();
    flip(join(source, 'models/acme--tiny', layer));
    const extra = fresh();
    const { status, stderr } = await set(['--from', url], extra);
    expect(status).toBe(1);
    expect(stderr).toContain(`${layer}: block 0 came damaged; it is fetched again`);
    expect(stderr).toContain(`${layer}: block 0 of 16 MiB was wrong twice`);
    expect(existsSync(join(modelOf(extra), 'manifest.json'))).toBe(false);
    flip(join(source, 'models/acme--tiny', layer));
    expect((await set(['--from', url], extra)).status).toBe(0);
    expect(await hashesBelow(modelOf(extra))).toEqual(
      await hashesBelow(join(source, 'models/acme--tiny')),
    );
  });

  test('a copy that is killed goes on with the files that it has, from the share or from the hub', async () => {
    const { url } = await share();
    for (const rest of [
      ['--from', url],
      ['--repo', 'acme/tiny'],
    ]) {
      const extra = fresh();
      const journal = join(modelOf(extra), 'journal.ndjson');
      const args = ['setup', '--from', url, '--no-service', '--yes', '--limit', '1MB/s'];
      const child = start(args, extra);
      const ended = once(child, 'exit');
      await vi.waitFor(() => expect(readFileSync(journal, 'utf8')).toContain('"packed"'), 60_000);
      child.kill('SIGKILL');
      await ended;
      const lines = readFileSync(journal, 'utf8').split('\n').length;
      const again = await set([...rest, '--limit', 'off'], { ...extra, HF_ENDPOINT: hub.endpoint });
      expect(again).toMatchObject({ status: 0 });
      expect(readFileSync(journal, 'utf8').split('\n').length).toBeGreaterThan(lines);
      const made = await hashesBelow(modelOf(extra));
      expect(onlyModel(made)).toEqual(onlyModel(hashes));
    }
  });
});
