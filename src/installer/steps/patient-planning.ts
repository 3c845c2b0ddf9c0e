// A plan needs the network. Where nobody is there to start the command again, that is waited for as well.

import { setTimeout as sleep } from 'node:timers/promises';
import { FlashmoeError } from '../../base/errors.js';
import type { ProvisioningPlan } from '../../transfer/plan.js';
import { planProvisioning, type PlanningTask } from './planning.js';

const AGAIN_MS = 60_000;

/** As planProvisioning; with `patient` only an answer that waiting can't change, or an abort, ends it. */
export async function planPatiently(
  task: PlanningTask,
  patient: boolean,
): Promise<ProvisioningPlan> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await planProvisioning(task);
    } catch (error) {
      const mayPass =
        error instanceof FlashmoeError &&
        (error.code === 'ERR_NETWORK' || error.code === 'ERR_REMOTE_CONTENT') &&
        error.resumable;
      if (!patient || !mayPass || task.signal.aborted) throw error;
      const { emit, repo, signal } = task;
      emit({ type: 'retry', item: repo, attempt, delayMs: AGAIN_MS, reason: error.message });
      await sleep(AGAIN_MS, undefined, { signal });
    }
  }
}
