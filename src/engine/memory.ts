// The memory plan of an open engine: its own figures and the machine's in, the experts' share given to it.

import { runJob } from '../addon/load.js';
import type { NativeAddon, NativeEngine } from '../addon/types.js';
import { planMemory, type MemoryPlan, type MemoryWishes } from '../models/memory-plan.js';

export interface MemoryOptions {
  /** Of the machine, or of a container's limit. */
  memoryBytes: number;
  wishes?: MemoryWishes;
  /** File of the most used experts of earlier runs, read at the start and written at the end; absent: none. */
  hottest?: string;
}

/** For the next start. A file that can't be written costs that start time, and nothing else. */
export function keepHottest(native: NativeEngine, { hottest }: MemoryOptions): void {
  if (hottest === undefined) return;
  try {
    native.saveHottest(hottest);
  } catch {
    return;
  }
}

/** Plans, and lets experts stay in what the plan gives them. */
export async function useMemory(
  native: NativeEngine,
  addon: Pick<NativeAddon, 'metalDevice'>,
  { memoryBytes, wishes, hottest }: MemoryOptions,
): Promise<MemoryPlan> {
  const info = native.info();
  const device = info.backend === 'metal' ? addon.metalDevice().device : null;
  const workingSetBytes = device?.recommendedWorkingSetBytes ?? null;
  const plan = planMemory(info, { memoryBytes, availableBytes: null, workingSetBytes }, wishes);
  if (info.expertFileBytes === 0) return plan;
  await runJob(native.resizeExperts(plan.mode === 'resident' ? Infinity : plan.expertBytes));
  if (hottest !== undefined) native.warm(hottest);
  return plan;
}
