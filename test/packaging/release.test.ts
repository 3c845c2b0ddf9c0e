// What a release is: the tarball that npm packs, installed into an empty prefix and run from there.

import { spawn, spawnSync, type SpawnSyncReturns } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';

const root = resolve(import.meta.dirname, '../..');
const addon = join(root, 'build/Release/flashmoe.node');
const isBuilt = existsSync(join(root, 'dist/cli/main.js')) && existsSync(addon);
if (!isBuilt) console.log('SKIP a release: dist/ or the addon is not built, run `make build`');

const MINUTES = 5 * 60_000;

/** Serves, and follows the page from file to file as a browser would. */
async function wholePage([program = '', ...args]: string[], env: NodeJS.ProcessEnv): Promise<void> {
  const server = spawn(program, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
  onTestFinished(() => void server.kill('SIGKILL'));
  let said = '';
  for (const stream of [server.stdout, server.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => (said += text));
  }
  const address = (): string | undefined => /http:\/\/127\.0\.0\.1:[1-9]\d*/.exec(said)?.[0];
  while (address() === undefined && server.exitCode === null) await setTimeout(50);
  const seen = new Set(['/']);
  for (const path of seen) {
    const response = await fetch(`${address() ?? said}${path}`);
    expect([path, response.status]).toEqual([path, 200]);
    const text = await response.text();
    const named = text.matchAll(/(?:src|href)="(\/page\/[^"]+)"|from '\.\/([\w-]+\.js)'/g);
    for (const [, absolute, relative] of named) seen.add(absolute ?? `/page/${relative ?? ''}`);
  }
  expect([...seen]).toContain('/page/marked.js');
}

test.skipIf(!isBuilt)(
  'a release installs into an empty prefix without the network, and works there, its page with every module',
  async () => {
    const prefix = mkdtempSync(join(tmpdir(), 'flashmoe-prefix-'));
    onTestFinished(() => rmSync(prefix, { recursive: true, force: true }));

    const released = spawnSync(process.execPath, ['tools/release.mjs'], {
      cwd: root,
      encoding: 'utf8',
    });
    expect(released.stderr).toBe('');
    const said = (name: string): string =>
      new RegExp(`^${name} +(\\S.*)$`, 'm').exec(released.stdout)?.[1] ?? '';
    const tarball = said('tarball');
    const sha256 = createHash('sha256').update(readFileSync(tarball)).digest('hex');
    expect(said('sha256')).toBe(sha256);
    const formula = readFileSync(said('formula'), 'utf8');
    expect(formula).toContain(`sha256 "${sha256}"`);
    expect(formula).toContain(`/v${said('version')}/flashmoe-${said('version')}.tgz"`);

    const flags = ['--offline', '--ignore-scripts', '--no-audit', '--no-fund'];
    const installed = spawnSync('npm', ['install', '-g', '--prefix', prefix, ...flags, tarball], {
      encoding: 'utf8',
    });
    let entry = [join(prefix, 'bin/flashmoe')];
    if (installed.status !== 0 && installed.stderr.includes('ENOTCACHED')) {
      // A cache filled by `npm ci` holds packages, but not what the registry says of them: then by the lock.
      console.log(
        'SKIP npm install -g: its cache holds no descriptions of packages; npm ci instead',
      );
      const folder = join(prefix, 'lib/node_modules/flashmoe');
      mkdirSync(folder, { recursive: true });
      spawnSync('tar', ['-xzf', tarball, '--strip-components=1', '-C', folder]);
      copyFileSync(join(root, 'package-lock.json'), join(folder, 'package-lock.json'));
      const byLock = spawnSync('npm', ['ci', '--omit=dev', ...flags], {
        cwd: folder,
        encoding: 'utf8',
      });
      if (byLock.stderr.includes('ENOTCACHED')) {
        console.log('SKIP running a release: the cache of npm lacks its packages');
        return;
      }
      expect(byLock.status, byLock.stderr).toBe(0);
      entry = [process.execPath, join(folder, 'dist/cli/main.js')];
    } else {
      expect(installed.status, installed.stderr).toBe(0);
    }

    const environment = {
      PATH: process.env['PATH'],
      HOME: prefix,
      FLASHMOE_HOME: join(prefix, 'home'),
      // Building it from the packed sources is the engine step's own test.
      FLASHMOE_ADDON: addon,
    };
    const flashmoe = (...args: string[]): SpawnSyncReturns<string> =>
      spawnSync(entry[0] ?? '', [...entry.slice(1), ...args], {
        encoding: 'utf8',
        env: environment,
      });
    expect(flashmoe('--version').stdout.trim()).toBe(said('version'));
    const report = flashmoe('doctor', '--only', 'machine', 'engine', 'disk', '--json');
    expect(JSON.parse(report.stdout)).toMatchObject({ event: 'doctor', schema: 1 });
    const setup = flashmoe('setup', '--model', 'tiny', '--yes', '--no-service', '--json');
    expect(setup.stderr).toBe('');
    expect(setup.status, setup.stdout.slice(-600)).toBe(0);
    expect(flashmoe('run', 'What is 347 + 285?').stdout).toContain('632');
    await wholePage([...entry, 'serve', '--port', '0'], environment);
  },
  MINUTES,
);

test('the addon of a package is the prebuilt one when its hash is right and it loads, else it is built', () => {
  const folder = mkdtempSync(join(tmpdir(), 'flashmoe-ensure-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const place = join(folder, 'prebuilds', `${process.platform}-${process.arch}`);
  mkdirSync(place, { recursive: true });
  mkdirSync(join(folder, 'native'));
  copyFileSync(join(root, 'native/ensure.mjs'), join(folder, 'native/ensure.mjs'));
  // Says that it was asked to build, and builds nothing.
  writeFileSync(join(folder, 'native/build.mjs'), "console.log('built from source');");
  const ensured = (): string =>
    spawnSync(process.execPath, ['native/ensure.mjs'], { cwd: folder, encoding: 'utf8' }).stdout;
  const install = (bytes: Buffer, recorded = bytes): void => {
    writeFileSync(join(place, 'flashmoe.node'), bytes);
    const sha256 = createHash('sha256').update(recorded).digest('hex');
    writeFileSync(join(place, 'flashmoe.node.sha256'), `${sha256}  flashmoe.node\n`);
  };
  expect(ensured()).toMatch(/not used: there is none for this machine.*\nbuilt from source/);
  install(Buffer.from('a binary for another system'));
  expect(ensured()).toMatch(/not used: it does not load: .*\nbuilt from source/);
  if (!isBuilt) return;
  install(readFileSync(addon), Buffer.from('something else'));
  expect(ensured()).toMatch(/not used: its sha256 is .*\nbuilt from source/);
  install(readFileSync(addon));
  expect(ensured()).toMatch(/^the prebuilt addon is used: /);
});
