// The state of a model of this home: facts from its folder and, where somebody is at work on it, from them.

import { readRecord } from '../jobs/record/recorder.js';
import { summarise } from '../jobs/record/summary.js';
import { modelState, type ModelState } from '../store/model-state.js';
import type { Installation } from './read-installation.js';

/** `live`: of the process at work; null when there is none or it doesn't answer. */
export async function stateOf(
  { id, owner, manifest, plan, begunAs, away, problem, paths }: Installation,
  live: { waiting: string | null; waitingCode: string | null } | null,
): Promise<ModelState> {
  const record = await readRecord(paths.record).catch(() => []);
  const reason = live?.waiting ?? null;
  const waiting = reason === null ? null : { code: live?.waitingCode ?? '', reason };
  return modelState({
    ...{ id, manifest, plan, begunAs, away, problem },
    owner: owner === null ? null : { waiting },
    ...(record.length === 0 ? {} : { outcome: summarise(record).outcome }),
  });
}
