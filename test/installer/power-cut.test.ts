import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Quant } from '../../src/models/quant.js';
import { failingDisk, ForgetfulDisk, type Survivors } from '../helpers/disk/failing-disk.js';
import { KilledSetup } from './cut-short.js';
import { makeLargeRepo } from './large-repo.js';
import { hashesBelow, journalLength } from './provisioned.js';

const library = failingDisk();
const CUTS = 4;
const seed = Number(process.env['FLASHMOE_SEED'] ?? Date.now() % 100_000);

let folder: string;
let repo: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fm-power-'));
  repo = join(folder, 'repo');
  await makeLargeRepo(repo, { experts: 32, shardBytes: 4 << 20 });
}, 60_000);
afterAll(() => rm(folder, { recursive: true }));

/** A number in [0, 1) for each call. */
function numbers(from: number): () => number {
  let state = from;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

/** What a disk may keep of the unsynced: nothing; all names and no content; some pages; all names and some pages. */
function survivors(cut: number, random: () => number): Survivors {
  const [names, pages] = [cut % 2 === 1, cut % 4 >= 2];
  return { names, page: () => pages && random() < 0.5 };
}

describe.skipIf(library === null)('a setup without power', { timeout: 240_000 }, () => {
  it.each(['4bit', '2bit'] as const)(
    'again and again at %s asks for nothing again that its journal speaks of, and makes the same files',
    async (quant: Quant) => {
      const random = numbers(seed);
      const alone = await KilledSetup.of(repo, join(folder, `alone-${quant}`), quant);
      const cut = await KilledSetup.of(repo, join(folder, `cut-${quant}`), quant);
      try {
        const whole = await alone.run(null);
        expect(whole.finished, whole.stderr).toBe(true);
        const total = alone.sent;
        const disk = new ForgetfulDisk(library ?? '', cut.home, join(folder, `disk-${quant}`));
        for (let n = 0; n <= CUTS; n += 1) {
          const left = await cut.left();
          const bytes = n === CUTS ? null : (total / CUTS) * (0.5 + 1.2 * random());
          const run = await cut.run(bytes, random() * 40, disk.env);
          const again = run.ranges.filter(
            ({ sha256, start, end }) =>
              left?.some((one) => one.sha256 === sha256 && one.start <= start && end <= one.end) ===
              false,
          );
          expect(again, `seed ${seed}, cut ${n}`).toEqual([]);
          if (n === CUTS) {
            expect(run.finished, `seed ${seed}: ${run.stderr}`).toBe(true);
          } else {
            const before = await journalLength(cut.paths.root);
            disk.cutPower(survivors(n, random));
            // A line is synced before the next one is written.
            expect(await journalLength(cut.paths.root)).toBeGreaterThanOrEqual(before - 1);
          }
        }
        const [made, expected] = [
          await hashesBelow(cut.paths.root),
          await hashesBelow(alone.paths.root),
        ];
        expect(made, `seed ${seed}`).toEqual(expected);
        console.log(`seed ${seed}: ${CUTS} power cuts, ${cut.sent} bytes sent for ${total}`);
      } finally {
        await alone.hub.close();
        await cut.hub.close();
      }
    },
  );
});
