// Memory that experts give back and take again, with the bundled model, its real engine, and files as Linux writes them.

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runJob } from '../../src/addon/load.js';
import { exec } from '../../src/base/exec.js';
import { ElasticMemory } from '../../src/engine/elastic-memory.js';
import { memoryFacts } from '../../src/machine/memory-facts.js';
import { parseVmStat } from '../../src/machine/macos.js';
import { openNative } from '../../src/engine/open-native.js';
import { packDirectory } from '../../src/repack/pack-directory.js';
import { testAddon } from '../repack/fixtures.js';

const TINY = join(import.meta.dirname, '..', '..', 'models', 'tiny');
const addon = testAddon();
let places: { modelDir: string; expertsDir: string };
let folder: string;
const PAGES = 32 * 8 * 32_768;
const prompt = Int32Array.from({ length: 40 }, (_, index) => 300 + index * 7);

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'flashmoe-elastic-'));
  places = await packDirectory(TINY, join(folder, 'model'), { addon, quant: '4bit', threads: 1 });
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

/** As the kernel writes /proc/pressure/memory and /proc/meminfo. */
async function write(stall: string, availableKib = 20_000_000): Promise<void> {
  const line = (name: string): string => `${name} avg10=${stall} avg60=0.00 avg300=0.00 total=0\n`;
  await writeFile(join(folder, 'memory'), line('some') + line('full'));
  await writeFile(join(folder, 'meminfo'), `MemAvailable: ${availableKib} kB\n`);
}

test('experts shrink under pressure, come back after a minute of calm, and every answer is the same', async () => {
  const numbers = { threads: 1, ioThreads: 2, tokenLimit: 2 ** 31 - 1 };
  const engine = await openNative({ addon, id: 'tiny', ...places, ...numbers, backend: 'cpu' });
  try {
    let now = 0;
    const files = { memory: join(folder, 'meminfo'), stalls: join(folder, 'memory') };
    const state = () =>
      memoryFacts({ platform: 'linux' }, exec, new AbortController().signal, files);
    await runJob(engine.resizeExperts(PAGES));
    const memory = new ElasticMemory({ native: engine, bytes: PAGES, state, now: () => now });
    const answers: Float32Array[] = [];
    const sizes: number[] = [];
    const step = async (at: number, stall: string, availableKib?: number): Promise<void> => {
      now = at;
      await write(stall, availableKib);
      await memory.look();
      sizes.push(memory.bytes / PAGES);
      const session = engine.createSession(64);
      await runJob(session.prefill(prompt, () => undefined));
      await runJob(session.decode(7));
      answers.push(Float32Array.from(session.logits()));
      session.close();
    };
    await step(0, '0.00');
    const before = engine.info().expertPoolBytes;
    await step(15_000, '2.50');
    expect(engine.info().expertPoolBytes).toBeLessThanOrEqual(before / 2);
    await step(30_000, '30.00');
    // Not yet a minute of calm; then, but others have what it would take; then there is enough.
    await step(80_000, '0.00');
    await step(95_000, '0.00', 100);
    await step(110_000, '0.00');
    await step(125_000, '0.00');
    await step(140_000, '0.00');
    await step(155_000, '0.00');
    expect(sizes).toEqual([1, 1 / 2, 1 / 8, 1 / 8, 1 / 8, 1 / 4, 1 / 2, 1, 1]);
    expect(engine.info().expertPoolBytes).toBe(before);
    for (const answer of answers) expect(answer).toEqual(answers[0]);
  } finally {
    engine.close();
  }
});

test('a system that cannot be asked is taken for calm', async () => {
  const asked: number[] = [];
  const native = {
    resizeExperts: (bytes: number) => {
      asked.push(bytes);
      throw new Error('not to be called');
    },
  };
  const state = () => Promise.reject(new Error('no such file'));
  const memory = new ElasticMemory({ native, bytes: 100, state });
  await memory.look();
  expect(memory.bytes).toBe(100);
  expect(asked).toEqual([]);
});

test('vm_stat tells what can be had without swapping', () => {
  const text =
    'Mach Virtual Memory Statistics: (page size of 16384 bytes)\n' +
    'Pages free:                               12000.\n' +
    'Pages active:                            400000.\n' +
    'Pages purgeable:                           3000.\n' +
    'File-backed pages:                       150000.\n';
  expect(parseVmStat(text)).toBe((12_000 + 3_000 + 150_000) * 16_384);
  expect(parseVmStat('something else')).toBeNull();
});
