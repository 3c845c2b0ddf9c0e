// An engine as a server would have it, for measuring: the same settings, memory plan and arithmetic, without tokenizer and
// template.

import type { BackendName, NativeEngine } from '../addon/types.js';
import { exec } from '../base/exec.js';
import { chooseBackend } from '../engine/backend.js';
import { machineMemory, useMemory } from '../engine/memory.js';
import { openNative } from '../engine/open-native.js';
import { forgetPages } from '../engine/page-cache.js';
import { memoryFacts } from '../machine/memory-facts.js';
import { passTokens, type MemoryPlan } from '../models/memory-plan.js';
import { SERVED_ARITHMETIC } from '../settings/engine-options.js';
import { readSettings } from '../settings/file.js';
import { engineOptionsFor } from '../settings/schema.js';
import type { AppContext } from './context.js';
import { IO_THREADS } from './installed.js';
import { nativeAddon } from './native.js';
import type { Ready } from './ready-models.js';

/** Padding rows may be sampled, too: nobody reads the text. */
const ALL_TOKENS = 2 ** 31 - 1;

/** What goes before the settings; null or absent: as they say. */
export interface MeasuredChoices {
  threads?: number | null;
  experts?: number | null;
  backend?: BackendName | null;
  directReads?: boolean | null;
}

export interface Measured {
  native: NativeEngine;
  plan: MemoryPlan;
  threads: number;
  /** The model's files have left the page cache. */
  isCold: boolean;
}

/** As openNative; the caller closes the engine. */
export async function openToMeasure(
  context: AppContext,
  { id, paths, manifest }: Ready,
  choices: MeasuredChoices,
  signal: AbortSignal,
): Promise<Measured> {
  const { host } = context;
  const store = { id, modelDir: paths.root, expertsDir: paths.experts(manifest.quant) };
  // Before the engine maps the dense weights: what is mapped stays in the cache.
  const isCold = await forgetPages(host.platform, [store.modelDir, store.expertsDir], signal);
  const threads = choices.threads ?? host.cores;
  const settings = engineOptionsFor({}, await readSettings(context.home.settings), id);
  const addon = nativeAddon(context);
  const backend = choices.backend ?? settings.backend ?? null;
  const memory = {
    memoryBytes: host.memoryBytes,
    state: () => memoryFacts(host, exec, signal),
    wishes: { memoryBytes: settings.memory, contextLength: settings.context },
  };
  const machine = await machineMemory(addon, chooseBackend(addon, backend), memory);
  const { experts = null } = choices;
  const native = await openNative({
    ...{ addon, ...store, threads, backend, signal },
    ioThreads: IO_THREADS,
    tokenLimit: ALL_TOKENS,
    ...(experts === null ? {} : { expertsPerToken: experts }),
    directReads: choices.directReads ?? settings.directReads ?? false,
    arithmetic: settings.arithmetic ?? SERVED_ARITHMETIC,
    prefillTokens: passTokens(machine, memory.wishes),
  });
  try {
    return { native, plan: await useMemory(native, machine, memory), threads, isCold };
  } catch (error) {
    native.close();
    throw error;
  }
}
