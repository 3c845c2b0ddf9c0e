// How much a write plan has on disk at any moment: the promise of a plan, computed from the items that keep it. Pure.

import type { ConvertPlace, ConvertWay, WriteItem } from '../addon/types.js';
import { ENCODED_BITS } from './encoded-tensor.js';
import type { WritePlan } from './write-plan.js';

/** What file systems allocate at once. */
const PAGE = 4096;

/**
 * Most bytes that the write plan's files hold together, holes left out, from item `from` on when everything before it
 * is done. Scratch goes `lag` bytes after its last use, when the journal has a line behind it.
 */
export function writePlanPeak(writes: WritePlan, lag: number, from = 0): number {
  const held = new Map<number, number>();
  const releases = [...writes.releases];
  const due: { file: number; at: number }[] = [];
  let [total, peak, at] = [0, 0, 0];
  writes.items.forEach((item, index) => {
    for (const [file, bytes] of written(item)) {
      const before = held.get(file) ?? 0;
      const after = Math.min(before + bytes, writes.files[file]?.size ?? 0);
      held.set(file, after);
      total += after - before;
    }
    if (index >= from) peak = Math.max(peak, total);
    if (item.type === 'bytes') at += item.size;
    while ((releases[0]?.item ?? Infinity) <= index + 1) {
      const release = releases.shift();
      if (release !== undefined) due.push({ file: release.file, at: at + lag });
    }
    while ((due[0]?.at ?? Infinity) <= at) {
      const file = due.shift()?.file ?? -1;
      total -= held.get(file) ?? 0;
      held.delete(file);
    }
  });
  return peak;
}

/** Files that an item writes to, and how much of each in whole pages. */
function written(item: WriteItem): [number, number][] {
  if (item.type !== 'bytes') return [];
  const { place, size } = item;
  switch (place.kind) {
    case 'drop':
      return [];
    case 'copy':
      return [[place.file, pages(place.offset, size)]];
    case 'spread': {
      const slices = size / place.slice;
      const ways =
        place.unit === undefined
          ? slicePages(place.offset, place.slice, place.stride)
          : slicePages(place.offset, place.slice / 2, place.stride) +
            slicePages(place.second ?? 0, place.slice / 2, place.stride);
      return [[place.file, slices * ways]];
    }
    case 'convert': {
      const bytes = place.ways.reduce((sum, way) => sum + wayPages(place, way), 0);
      return [[place.file, (size / place.slice) * bytes]];
    }
    case 'requantise': {
      const { slice, bits, targetBits = 2, groupSize, stride, offsets } = place;
      const parameters = (slice * 16) / (bits * groupSize);
      const bytes =
        slicePages(offsets.weight, (slice * targetBits) / bits, stride) +
        slicePages(offsets.scales, parameters, stride) +
        slicePages(offsets.biases, parameters, stride);
      return [[place.file, (size / slice) * bytes]];
    }
  }
}

/** Of one slice of one way. */
function wayPages(place: ConvertPlace, { bits, groupSize, offsets }: ConvertWay): number {
  const { slice, stride, plain } = place;
  const values = (slice * 8) / ENCODED_BITS[place.encoding] / place.ways.length;
  if (bits === 0)
    return slicePages(offsets.weight, values * (plain?.dtype === 'F32' ? 4 : 2), stride);
  // Parameters that stay as they came may be of four bytes.
  const parameter = place.exact && place.scales?.dtype === 'F32' ? 4 : 2;
  const parameters = (values / groupSize) * parameter;
  return (
    slicePages(offsets.weight, (values * bits) / 8, stride) +
    slicePages(offsets.scales, parameters, stride) +
    slicePages(offsets.biases, parameters, stride)
  );
}

/** All slices lie alike in their pages when the stride is one of pages, as layouts make it. */
function slicePages(offset: number, size: number, stride: number): number {
  return Math.min(pages(offset, size), stride);
}

function pages(offset: number, size: number): number {
  return (Math.ceil((offset + size) / PAGE) - Math.floor(offset / PAGE)) * PAGE;
}
