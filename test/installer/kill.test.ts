import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Quant } from '../../src/models/quant.js';
import { readJournal } from '../../src/store/journal.js';
import { installationId } from '../../src/store/model-files.js';
import { reduceJournal, type JournalState } from '../../src/store/state.js';
import { hashesBelow, jobFor, journalLength, provision } from './provisioned.js';
import type { Job } from './programs/provision.js';

/** The road, 5 side files, 3 shards placed and sealed, 8 layers, the dense file, the end. Points between may be more. */
const LEAST_LINES = 1 + 5 + 3 + 8 + 2;

describe.concurrent('a setup killed with SIGKILL', { timeout: 240_000 }, () => {
  // Each run is killed at the first line it writes, so together they are killed at every line there is.
  it('after every journal line makes the files of a run that was left alone', async () => {
    const deaths = await dieAndGoOn('4bit', { line: 1, when: 'after' });
    expect(deaths).toBeGreaterThanOrEqual(LEAST_LINES);
  });

  it('in the middle of every fifth journal line makes the same two-bit files', async () => {
    const deaths = await dieAndGoOn('2bit', { line: 5, when: 'torn' });
    expect(deaths).toBeGreaterThanOrEqual(Math.floor(LEAST_LINES / 4) - 1);
    // Every run gets further than the one before.
    expect(deaths).toBeLessThanOrEqual(2 * LEAST_LINES);
  });

  it('in the middle of every seventh journal line makes the same mixed files', async () => {
    await dieAndGoOn('mixed', { line: 7, when: 'torn' });
  });
});

/** Runs until one is not killed, compares with one that never was, and returns how often it died. */
async function dieAndGoOn(quant: Quant, kill: NonNullable<Job['kill']>): Promise<number> {
  const folder = await mkdtemp(join(tmpdir(), 'fm-kill-'));
  try {
    const rootIn = (home: string): string => join(home, 'models', installationId('tiny', quant));
    const [killed, alone] = [join(folder, 'killed'), join(folder, 'alone')];
    const whole = await provision(jobFor(alone, quant));
    expect(whole.stderr).toBe('');
    expect(whole.events.at(-1)).toMatchObject({ type: 'finished' });

    for (let runs = 0; ; runs += 1) {
      const before = await journalLength(rootIn(killed));
      const run = await provision(jobFor(killed, quant, kill));
      if (run.status === 0) {
        expect(await hashesBelow(rootIn(killed))).toEqual(await hashesBelow(rootIn(alone)));
        expect(await readdir(rootIn(killed))).not.toContain('download');
        expect(await requantisedIn(rootIn(killed))).toEqual(await requantisedIn(rootIn(alone)));
        return runs;
      }
      expect(run.status, run.stderr).toBe('SIGKILL');
      // The header is there before the first line; a torn line is none.
      const written = kill.when === 'after' ? kill.line : kill.line - 1;
      expect(await journalLength(rootIn(killed))).toBe(Math.max(before, 1) + written);
    }
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** What the journal says of the errors: sums that no death may change. */
async function requantisedIn(root: string): Promise<JournalState['errors']> {
  const journal = await readJournal(join(root, 'journal.ndjson'));
  return reduceJournal(journal?.entries ?? []).errors;
}
