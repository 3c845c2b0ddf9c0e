import { formatBytesBoth } from '../../base/format.js';
import { volumeOf } from '../../base/volume.js';
import { diskFinding } from '../../machine/facts.js';
import type { Check } from '../check.js';

/** Below it logs and saved states begin to fail, whatever a setup needs on top. */
const LOW_BYTES = 2e9;

export const disk: Check = {
  id: 'disk.free',
  title: 'free space on the volume of the models, and whether it may be written',
  timeoutMs: 10_000,
  async run({ home }) {
    // The models may lie elsewhere, behind a link.
    const places = await Promise.all([volumeOf(home.home), volumeOf(home.models)]);
    const folder = places[0].device === places[1].device ? home.home : home.models;
    const finding = await diskFinding(folder);
    if (finding.severity === 'fail') return [finding];
    const { freeBytes } = await volumeOf(folder);
    if (freeBytes >= LOW_BYTES) return [finding];
    return [
      {
        ...finding,
        severity: 'warn',
        why: `below ${formatBytesBoth(LOW_BYTES)} logs and saved conversations begin to fail, and a setup pauses`,
        hint: 'make room on this volume, or move the home with FLASHMOE_HOME',
      },
    ];
  },
};
