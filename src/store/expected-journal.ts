// The journal that an undisturbed run writes, for its size. Pure.

import { emptyChain } from '../repack/blocks.js';
import { expertRuns } from '../repack/expert-places.js';
import type { PackPlan } from '../repack/types.js';
import { smallFiles } from './model-files.js';
import type { JournalEntry, JournalHeader } from './journal-lines.js';
import type { Requantised } from './requantisation.js';
import type { StoredPlan } from './stored-plan.js';

/** A journal line follows this many bytes, or fewer when they took long: what a power cut may cost. */
export const LINE_EVERY_BYTES = 64 << 20;
/** Fewer bytes than this make no line of their own, however long they took. */
export const LINE_LEAST_BYTES = 8 << 20;

const DIGITS = '0'.repeat(64);
const TIME = '2000-01-01T00:00:00.000Z';
/** The longest of all. */
const FOLDER = 'packed_experts_tiered/';

/** As many as a slow line makes: one for every 8 MiB, and one a shard. With errors of a projection under way. */
function placedLines({ shards, quant, dense }: PackPlan): JournalEntry[] {
  const bytes = shards.reduce((sum, { size }) => sum + size, 0);
  const isOriginal = dense.conversions !== undefined;
  const count = Math.ceil(bytes / LINE_LEAST_BYTES) + shards.length + 1;
  const placed: JournalEntry = {
    ...{ step: 'placed', at: bytes, item: 1e6, hash: '0'.repeat(208) },
    ...(quant === '4bit' && !isOriginal ? {} : { errors: [LONGEST_ERRORS] }),
  };
  return Array<JournalEntry>(count).fill(placed);
}

/** With as many digits as there can be. */
const LONGEST_ERRORS: Requantised = {
  ...{ layer: 999, projection: 'gate_up_proj', from: 1e15, values: 1e15 },
  ...{ squaredError: 12345.678901234567, rangeError: 12345.678901234567 },
  ...{ sum: -0.000012345678901234567, sumOfSquares: 12345.678901234567 },
};

/** One of each projection that is requantised, and of each run of such experts. */
function allErrors(pack: PackPlan): Requantised[] {
  return pack.layers
    .flatMap((layer) => {
      const { projections, conversions = [] } = layer;
      const runs = expertRuns(pack, layer).filter(({ isKept }) => !isKept);
      return [
        ...projections
          .filter(({ sourceBits, targetBits }) => sourceBits !== targetBits)
          .flatMap(() => runs),
        ...conversions
          .filter(({ encoding, exact }) => encoding !== null && !exact)
          .flatMap(({ pieces }) => pieces),
      ];
    })
    .map(() => LONGEST_ERRORS);
}

export function journalLines(stored: StoredPlan): string {
  const { pack, revision } = stored;
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
      { step: 'sealed', shard, bytes, ...hash },
    ]),
    ...pack.layers.map(({ layer, file, size }): JournalEntry => ({
      step: 'packed',
      layer,
      file: FOLDER + file,
      bytes: size,
      ...hash,
      chain: emptyChain(size),
    })),
    ...smallFiles(stored).map(({ path, size }): JournalEntry => ({
      step: 'copied',
      file: path,
      bytes: size,
      ...hash,
    })),
    {
      ...{ step: 'dense-finished', file: pack.dense.file, bytes: pack.dense.size, ...hash },
      chain: emptyChain(pack.dense.size),
    },
    { step: 'road', road: 'ranges', tape: DIGITS },
    ...placedLines(pack),
    { ...{ step: 'placed', at: 0, item: 0, hash: '0'.repeat(208) }, errors: allErrors(pack) },
    { step: 'finished', at: TIME },
  ];
  return [header, ...entries].map((line) => `${JSON.stringify(line)}\n`).join('');
}
