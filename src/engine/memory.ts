// The memory plan of an engine: its own figures and the machine's in, the experts' share given to it.

import { runJob } from '../addon/load.js';
import type { BackendName, NativeAddon, NativeEngine } from '../addon/types.js';
import {
  planMemory,
  type MachineMemory,
  type MemoryPlan,
  type MemoryWishes,
} from '../models/memory-plan.js';
import { ElasticMemory, type MemoryState } from './elastic-memory.js';

export interface MemoryOptions {
  /** Of the machine, or of a container's limit. */
  memoryBytes: number;
  /** How short of memory the machine is now; absent: nobody knows, and what experts stay in never changes. */
  state?: () => Promise<MemoryState>;
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

/** What a plan for that backend starts from. */
export async function machineMemory(
  addon: Pick<NativeAddon, 'metalDevice'>,
  backend: BackendName,
  { memoryBytes, state }: MemoryOptions,
): Promise<MachineMemory> {
  const device = backend === 'metal' ? addon.metalDevice().device : null;
  const now = await state?.().catch(() => null);
  return {
    memoryBytes,
    availableBytes: now?.availableBytes ?? null,
    workingSetBytes: device?.recommendedWorkingSetBytes ?? null,
  };
}

/** Plans, and lets experts stay in what the plan gives them. */
export async function useMemory(
  native: NativeEngine,
  machine: MachineMemory,
  { wishes, hottest }: MemoryOptions,
): Promise<MemoryPlan> {
  const info = native.info();
  const plan = planMemory(info, machine, wishes);
  if (info.expertFileBytes === 0) return plan;
  await runJob(native.resizeExperts(plan.mode === 'resident' ? Infinity : plan.expertBytes));
  if (hottest !== undefined) native.warm(hottest);
  return plan;
}

/** Null where nothing can be given back: mapped files are the page cache's, and streaming takes next to nothing. */
export function elasticMemory(
  native: NativeEngine,
  plan: MemoryPlan | null,
  { state }: Pick<MemoryOptions, 'state'>,
): ElasticMemory | null {
  if (plan === null || state === undefined || plan.mode === 'streamed') return null;
  const { expertsMapped, expertFileBytes } = native.info();
  if (expertsMapped || expertFileBytes === 0) return null;
  return new ElasticMemory({ native, bytes: plan.expertBytes, state });
}
