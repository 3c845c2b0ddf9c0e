// What a copy from another machine fetches, keeps and needs. Pure.

import type { ProvisioningPlan } from '../transfer/plan.js';
import type { Offer } from './offer.js';

/** A plan's figures for a copy: what is fetched is what is kept. Pure. */
export function copyPlan(plan: ProvisioningPlan, { manifest }: Offer): ProvisioningPlan {
  const { state, summary } = plan;
  const { layers, denseFile, copied } = state;
  const here = new Set([...layers.values(), ...copied.values()].map(({ file }) => file));
  if (denseFile !== null) here.add(denseFile.file);
  const bytesOf = (files: typeof manifest.files): number =>
    files.reduce((sum, { size }) => sum + size, 0);
  const doneBytes = bytesOf(manifest.files.filter(({ path }) => here.has(path)));
  const downloadBytes = bytesOf(manifest.files);
  const peakBytes = manifest.finalBytes + plan.recordBytes;
  return { ...plan, peakBytes, summary: { ...summary, downloadBytes, doneBytes, peakBytes } };
}
