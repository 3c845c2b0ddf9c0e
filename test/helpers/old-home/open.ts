// A home of an older version, as that version left it, in a folder of its own.

import {
  cp,
  link,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  realpath,
  rm,
  writeFile,
} from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { parseManifest } from '../../../src/store/manifest.js';
import { hashFile } from '../../../src/base/hash-file.js';
import { packDirectory } from '../../../src/repack/pack-directory.js';
import { testAddon } from '../../repack/fixtures.js';
import { projectRoot } from '../built-cli.js';
import { PLACES } from './places.js';

export interface OldHome {
  /** FLASHMOE_HOME. */
  home: string;
  /** Where one of its models was moved to. */
  volume: string;
  /** Folder of the service file. */
  service: string;
  remove(): Promise<void>;
}

const FIXTURE = join(projectRoot, 'test/fixtures/home-0.1.0');
const TINY = join(projectRoot, 'models/tiny');

/** Packed weights that the fixture leaves out, made again once: a folder like the fixture's. */
export async function remakeWeights(): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), 'flashmoe-old-weights-'));
  for (const [place, quant] of [
    ['home/models/tiny', '4bit'],
    ['volume/tiny-2bit', '2bit'],
  ] as const) {
    const packed = join(root, 'packed');
    await packDirectory(TINY, packed, { addon: testAddon(), quant, threads: 2 });
    const { files } = parseManifest(await readFile(join(FIXTURE, place, 'manifest.json'), 'utf8'));
    for (const { path, sha256 } of files) {
      if (existsSync(join(FIXTURE, place, path))) continue;
      if ((await hashFile(join(packed, path))) !== sha256) {
        throw new Error(`${path} at ${quant}: the packer makes other bytes than version 0.1.0 did`);
      }
      await mkdir(dirname(join(root, place, path)), { recursive: true });
      await link(join(packed, path), join(root, place, path));
    }
    await rm(packed, { recursive: true });
  }
  return root;
}

export async function openOldHome(weights: string): Promise<OldHome> {
  const root = await realpath(await mkdtemp(join(tmpdir(), 'flashmoe-old-home-')));
  for (const from of [FIXTURE, weights]) await cp(from, root, { recursive: true });
  const places = {
    home: join(root, 'home'),
    volume: join(root, 'volume'),
    package: projectRoot.replace(/\/$/, ''),
    node: process.execPath,
  };
  for (const entry of await readdir(root, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (!entry.isFile() || !/\.(json|ndjson|service)$/.test(entry.name)) continue;
    const text = await readFile(path, 'utf8');
    const filled = Object.entries(places).reduce(
      (so, [place, found]) => so.replaceAll(PLACES[place] ?? '', found),
      text,
    );
    if (filled !== text) await writeFile(path, filled);
  }
  const { home, volume } = places;
  return {
    home,
    volume,
    service: join(root, 'service'),
    remove: () => rm(root, { recursive: true }),
  };
}
