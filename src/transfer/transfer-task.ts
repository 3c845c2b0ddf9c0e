// What every way of bringing a model's bytes is given, and what its own small writes take.

import type { NativeAddon } from '../addon/types.js';
import type { ModelPaths } from '../base/paths.js';
import type { HubClient } from '../hub/client.js';
import type { RepoListing } from '../hub/types.js';
import type { Gate } from '../jobs/controls.js';
import type { DiskBudget } from './disk-budget.js';
import type { Emit } from '../jobs/events.js';
import type { Journal, JournalEntry } from '../store/journal.js';
import type { ProvisioningPlan } from './plan.js';

export interface TransferTask {
  plan: ProvisioningPlan;
  listing: RepoListing;
  client: HubClient;
  addon: NativeAddon;
  paths: ModelPaths;
  journal: Journal;
  budget: DiskBudget;
  gate: Gate;
  threads: number;
  /** Milliseconds since 1970. */
  now: () => number;
  emit: Emit;
  signal: AbortSignal;
}

/** The line that tells backup and index programs to stay out, as bford.info/cachedir specifies it. */
export const CACHEDIR_TAG =
  'Signature: 8a477f597d28d172789f06886806bc55\n# Scratch space of flashmoe.\n';
/** What a change of a folder may take. */
export const FOLDER_BYTES = 8192;

/** Room for a journal line, and for the block that it may begin. */
export function lineRoom(entry: JournalEntry): number {
  return Buffer.byteLength(JSON.stringify(entry)) + FOLDER_BYTES;
}
