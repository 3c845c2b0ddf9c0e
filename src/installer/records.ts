// The journal that an undisturbed run writes, for its size. Pure.

import type { JournalEntry, JournalHeader } from './journal-lines.js';
import type { StoredPlan } from './stored-plan.js';

const DIGITS = '0'.repeat(64);
const TIME = '2000-01-01T00:00:00.000Z';
/** `packed_experts_2bit/`, the longer of the two. */
const FOLDER = 'packed_experts_2bit/';

export function journalLines({ pack, revision, sideFiles }: StoredPlan): string {
  const header: JournalHeader = {
    schema: 1,
    repo: pack.repo,
    revision,
    commit: pack.commit,
    plan: pack.fingerprint,
    quant: pack.quant,
    startedAt: TIME,
  };
  const hash = { sha256: DIGITS };
  const entries: JournalEntry[] = [
    ...pack.shards.flatMap(({ path: shard, size: bytes }): JournalEntry[] => [
      { step: 'verified', shard, bytes, ...hash },
      { step: 'dense', shard, bytes },
      { step: 'released', shard },
    ]),
    ...pack.layers.map(({ layer, file, size }): JournalEntry => ({
      step: 'packed',
      layer,
      file: FOLDER + file,
      bytes: size,
      ...hash,
    })),
    ...sideFiles.map(({ path, size }): JournalEntry => ({
      step: 'copied',
      file: path,
      bytes: size,
      ...hash,
    })),
    { step: 'dense-finished', file: pack.dense.file, bytes: pack.dense.size, ...hash },
    { step: 'finished', at: TIME },
  ];
  return [header, ...entries].map((line) => `${JSON.stringify(line)}\n`).join('');
}
