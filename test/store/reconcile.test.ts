import { beforeAll, describe, expect, it } from 'vitest';
import { planDirectory } from '../../src/repack/pack-directory.js';
import { beginningOf, buildWritePlan, type WritePlan } from '../../src/repack/write-plan.js';
import type { PackPlan } from '../../src/repack/types.js';
import { isStillOnDisk, reconcile } from '../../src/store/reconcile.js';
import { reduceJournal, type DiskSizes, type JournalState } from '../../src/store/state.js';
import { startOf } from '../../src/store/transfer-mode.js';
import { fixture, testAddon } from '../repack/fixtures.js';

let plan: PackPlan;
let writes: WritePlan;
beforeAll(async () => {
  // Two bits: parameters wait in scratch files.
  plan = await planDirectory(fixture('qwen3_5_moe'), {
    ...{ addon: testAddon(), quant: '2bit', threads: 1 },
  });
  writes = buildWritePlan(plan, { layers: new Set(), dense: false });
});

/** What a run leaves that placed every item before `item`, and of that one `more` bytes. */
function stateAt(item: number, more = 0, tape = writes.fingerprint): JournalState {
  const placed = { ...beginningOf({ at: startOf(writes, item) + more, item }) };
  return reduceJournal([
    { step: 'road', road: 'ranges', tape },
    { step: 'placed', ...placed },
  ]);
}

/** All files of the write plan at their full size, but for those in `without`. */
function disk(without: readonly number[] = []): DiskSizes {
  const shards = new Map<string, number>();
  const partials = new Map<number, number>();
  let densePartial: number | null = null;
  for (const [i, file] of writes.files.entries()) {
    if (without.includes(i)) continue;
    if (file.kind === 'dense') densePartial = file.size;
    else if (file.kind === 'layer') partials.set(file.layer, file.size);
    else shards.set(file.name, file.size);
  }
  return { shards, files: new Map(), densePartial, partials, named: new Map() };
}

/** The first item that writes to a file of a kind, and that file's number. */
function firstOf(kind: 'dense' | 'layer' | 'scratch'): { item: number; file: number } {
  for (const [item, each] of writes.items.entries()) {
    if (each.type !== 'bytes' || each.place.kind === 'drop') continue;
    if (writes.files[each.place.file]?.kind === kind) return { item, file: each.place.file };
  }
  throw new RangeError(`nothing goes to ${kind}`);
}

describe('what the journal says is placed', () => {
  it('stands while every file that was written to has its size', () => {
    expect(isStillOnDisk(plan, stateAt(writes.items.length), disk())).toBe(true);
    expect(isStillOnDisk(plan, stateAt(0), disk([...writes.files.keys()]))).toBe(true);
    expect(isStillOnDisk(plan, reduceJournal([]), disk())).toBe(true);
  });

  it('is of this write plan only, and within it', () => {
    expect(isStillOnDisk(plan, stateAt(1, 0, 'f'.repeat(64)), disk())).toBe(false);
    const beyond = reduceJournal([
      { step: 'road', road: 'ranges', tape: writes.fingerprint },
      { step: 'placed', ...beginningOf({ at: writes.length + 1, item: writes.items.length + 1 }) },
    ]);
    expect(isStillOnDisk(plan, beyond, disk())).toBe(false);
  });

  it.each(['dense', 'layer', 'scratch'] as const)(
    'falls with a %s file that is gone or has another size',
    (kind) => {
      const { item, file } = firstOf(kind);
      // Behind the item, and in the middle of it.
      expect(isStillOnDisk(plan, stateAt(item + 1), disk([file]))).toBe(false);
      expect(isStillOnDisk(plan, stateAt(item, 1), disk([file]))).toBe(false);
      expect(isStillOnDisk(plan, stateAt(item + 1), disk())).toBe(true);
      const short = disk();
      const sizes: DiskSizes = {
        ...short,
        densePartial: (short.densePartial ?? 0) - 1,
        partials: new Map([...short.partials].map(([layer, size]) => [layer, size - 1])),
        shards: new Map([...short.shards].map(([name, size]) => [name, size - 1])),
      };
      expect(isStillOnDisk(plan, stateAt(item + 1), sizes)).toBe(false);
    },
  );

  it('does not need the file of an item that has not begun', () => {
    const { item, file } = firstOf('dense');
    expect(isStillOnDisk(plan, stateAt(item), disk([file]))).toBe(true);
  });

  it('does not need scratch that nothing needs any more', () => {
    const [release] = writes.releases;
    if (release === undefined) throw new RangeError('nothing is released');
    expect(isStillOnDisk(plan, stateAt(release.item), disk([release.file]))).toBe(true);
    expect(isStillOnDisk(plan, stateAt(release.item - 1), disk([release.file]))).toBe(false);
  });

  it('takes a file that got its final name before the line that says so', () => {
    const { item, file } = firstOf('layer');
    const written = writes.files[file];
    if (written?.kind !== 'layer') throw new RangeError('no layer');
    const named = new Map([[written.layer, written.size]]);
    expect(isStillOnDisk(plan, stateAt(item + 1), { ...disk([file]), named })).toBe(true);
    const first = firstOf('dense');
    const files = new Map([[plan.dense.file, writes.files[first.file]?.size ?? 0]]);
    expect(isStillOnDisk(plan, stateAt(first.item + 1), { ...disk([first.file]), files })).toBe(
      true,
    );
  });

  it('is forgotten when it falls, so that a new write plan begins', () => {
    const { item, file } = firstOf('scratch');
    expect(reconcile(stateAt(item + 1), disk(), plan).transfer?.placed?.item).toBe(item + 1);
    expect(reconcile(stateAt(item + 1), disk([file]), plan).transfer).toBeNull();
  });

  it('falls when a layer is gone that was there before the write plan began', () => {
    const [layer] = plan.layers;
    if (layer === undefined) throw new RangeError('no layer');
    const { file, size: bytes } = layer;
    const rest = buildWritePlan(plan, { layers: new Set([layer.layer]), dense: false });
    const lines = [
      { step: 'packed', layer: layer.layer, file, bytes, sha256: 'a'.repeat(64) },
      { step: 'road', road: 'ranges', tape: rest.fingerprint },
    ] as const;
    const there = reduceJournal(lines);
    const placed = { step: 'placed', ...beginningOf({ at: 0, item: 0 }) } as const;
    const further = reduceJournal([...lines, placed]);
    expect(isStillOnDisk(plan, further, disk())).toBe(true);
    expect(isStillOnDisk(plan, { ...further, layers: new Map() }, disk())).toBe(false);
    expect(isStillOnDisk(plan, there, disk())).toBe(true);
    expect(isStillOnDisk(plan, { ...there, layers: new Map() }, disk())).toBe(false);
  });
});
