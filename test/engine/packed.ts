// A fixture packed by the real packer and opened with the built addon: the whole way from files to text.

import { mkdtemp, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openEngine, type OpenEngineOptions } from '../../src/engine/open-engine.js';
import type { Engine } from '../../src/engine/types.js';
import { packDirectory } from '../../src/repack/pack-directory.js';
import { testAddon } from '../repack/fixtures.js';
import { fixture } from './fixtures.js';

export interface Packed {
  dir: string;
  open: (options?: Partial<OpenEngineOptions>) => Promise<Engine>;
}

/** The bundled model: trained, so what it says means something. */
const TINY = join(import.meta.dirname, '..', '..', 'models', 'tiny');

/** @param family a fixture's name, or `tiny` */
export async function packed(family: string): Promise<Packed> {
  const addon = testAddon();
  const dir = await mkdtemp(join(tmpdir(), 'flashmoe-engine-'));
  const target = join(dir, 'model');
  const { modelDir, expertsDir } = await packDirectory(
    family === 'tiny' ? TINY : fixture(family),
    target,
    {
      addon,
      quant: '4bit',
      threads: 1,
    },
  );
  const places = { addon, id: `org/${family}`, modelDir, expertsDir, threads: 1, ioThreads: 2 };
  return { dir, open: (options) => openEngine({ ...places, ...options }) };
}

export interface GoldenTokens {
  input_ids: number[];
  greedy: number[];
  greedy_margin: number[];
}

export async function goldenTokens(family: string): Promise<GoldenTokens> {
  const text = await readFile(join(fixture(family), 'golden.json'), 'utf8');
  return JSON.parse(text) as GoldenTokens;
}
