import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { KilledSetup } from './cut-short.js';
import { makeLargeRepo } from './large-repo.js';
import { hashesBelow } from './provisioned.js';

const KILLS = 25;
const seed = Number(process.env['FLASHMOE_SEED'] ?? Date.now() % 100_000);
/** What a connection may have under way: one request, a 32nd of the ring of 1 MiB. */
const UNDER_WAY = 16 * (32 << 10);

let folder: string;
let repo: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fm-random-kill-'));
  repo = join(folder, 'repo');
  await makeLargeRepo(repo, { experts: 32, shardBytes: 4 << 20 });
}, 60_000);
afterAll(() => rm(folder, { recursive: true }));

it(
  `a setup by ranges that is killed at ${KILLS} random moments makes the same files, and each kill costs what was under way`,
  { timeout: 300_000 },
  async () => {
    let state = seed;
    const random = (): number => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      return state / 2 ** 32;
    };
    const alone = await KilledSetup.of(repo, join(folder, 'alone'), '4bit');
    const killed = await KilledSetup.of(repo, join(folder, 'killed'), '4bit');
    try {
      const whole = await alone.run(null);
      expect(whole.finished, whole.stderr).toBe(true);
      const total = alone.sent;
      let deaths = 0;
      for (; deaths < KILLS; deaths += 1) {
        // Two times as far as an even share on average would end it before its last kill.
        const run = await killed.run((total / KILLS) * (0.2 + random()), random() * 10);
        if (run.finished) break;
      }
      const last = await killed.run(null);
      expect(last.finished, `seed ${seed}: ${last.stderr}`).toBe(true);
      const wasted = killed.sent - total;
      console.log(
        `seed ${seed}: ${deaths} kills, ${wasted} bytes wasted of ${total}, ${Math.round(wasted / deaths)} a kill`,
      );
      expect(deaths).toBeGreaterThan(KILLS / 2);
      expect(wasted, `seed ${seed}`).toBeLessThanOrEqual(deaths * UNDER_WAY);
      const [made, expected] = [
        await hashesBelow(killed.paths.root),
        await hashesBelow(alone.paths.root),
      ];
      expect(made, `seed ${seed}`).toEqual(expected);
    } finally {
      await alone.hub.close();
      await killed.hub.close();
    }
  },
);
