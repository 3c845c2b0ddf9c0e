// Makes a fixture of the home that the built program leaves behind: `node tools/typescript.mjs
// test/helpers/old-home/make.ts FOLDER` after `make build`. Run once for a format that is to
// be read for ever; never again for the same version.

import { spawn } from 'node:child_process';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { realpathSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { startBundledHub } from '../../../src/hub/bundled-hub.js';
import { mainScript, projectRoot } from '../built-cli.js';
import { standIn } from '../stand-in.js';
import { isRemade, PLACES } from './places.js';

const [target] = process.argv.slice(2);
if (target === undefined) throw new RangeError('name the folder that the fixture goes into');

const root = realpathSync(await mkdtemp(join(tmpdir(), 'flashmoe-home-')));
const manager = standIn('systemctl', { bus: 1 });
const repo = join(projectRoot, 'test/fixtures/qwen3_moe');
const hubs = await Promise.all(
  ['acme/small', 'acme/half'].map((name) => startBundledHub(repo, name)),
);
const [whole, half] = hubs;
if (whole === undefined || half === undefined) throw new RangeError('two hubs were started');
const home = join(root, 'home');
const volume = join(root, 'volume');

async function flashmoe(args: string[], endpoint = '', stopAt?: RegExp): Promise<void> {
  const child = spawn(process.execPath, [mainScript, ...args], {
    env: { ...manager.env, FLASHMOE_HOME: home, HF_ENDPOINT: endpoint },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let said = '';
  const hear = (text: string): void => {
    said += text;
    if (stopAt?.test(said)) child.kill('SIGINT');
  };
  child.stdout.setEncoding('utf8').on('data', hear);
  child.stderr.setEncoding('utf8').on('data', hear);
  const status = await new Promise<number | null>((resolve) => child.on('close', resolve));
  if (stopAt === undefined ? status !== 0 : status !== 130) throw new Error(`${status}: ${said}`);
}

try {
  await mkdir(volume);
  await flashmoe(['setup', 'tiny', '--yes']);
  await flashmoe(['setup', 'tiny', '--quant', '2bit', '--yes']);
  await flashmoe(['mv', 'tiny-2bit', volume]);
  await flashmoe(['setup', '--repo', 'acme/small', '--yes', '--no-service'], whole.endpoint);
  const slow = ['--limit', '150kB/s', '--yes', '--no-service'];
  const sealed = /model-00001-of-00003\.safetensors verified/;
  await flashmoe(['setup', '--repo', 'acme/half', ...slow], half.endpoint, sealed);
  // A prompt long enough for its state to be kept.
  await flashmoe(['run', '--model', 'tiny', 'Say: Yūki café. '.repeat(20)]);
  const settings = join(home, 'settings.json');
  const chosen = JSON.parse(await readFile(settings, 'utf8')) as object;
  await writeFile(
    settings,
    `${JSON.stringify({ ...chosen, port: 18571, promptCacheGB: 2 }, null, 2)}\n`,
  );
  await flashmoe(['service', 'install']);
  await flashmoe(['service', 'stop']);
  await cp(join(manager.home, '.config/systemd/user'), join(root, 'service'), { recursive: true });
  const places = { home, volume, package: projectRoot.replace(/\/$/, ''), node: process.execPath };
  for (const part of ['home', 'volume', 'service']) await keep(join(root, part), part, places);
} finally {
  manager.dispose();
  await Promise.all(hubs.map((hub) => hub.close()));
  await rm(root, { recursive: true });
}

/** Copies what can't be made again, with this machine's paths taken out of what people can read. */
async function keep(from: string, part: string, places: Record<string, string>): Promise<void> {
  for (const entry of await readdir(from, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    const name = join(part, relative(from, path));
    if (!entry.isFile() || isRemade(name) || name.includes('/logs/')) continue;
    await mkdir(join(target as string, name, '..'), { recursive: true });
    const bytes = await readFile(path);
    await writeFile(
      join(target as string, name),
      /\.(bin|partial|state)$|spool/.test(name) ? bytes : masked(bytes, places),
    );
  }
}

function masked(bytes: Buffer, places: Record<string, string>): Buffer {
  let text = bytes.toString('latin1');
  for (const [place, path] of Object.entries(places)) {
    text = text.replaceAll(path, PLACES[place] ?? path);
  }
  return Buffer.from(text, 'latin1');
}
