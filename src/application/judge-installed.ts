// A model that is here, asked what setup ends with.

import { judgeModel, type Judged } from '../installer/judge.js';
import type { Engine } from '../engine/types.js';
import { isUnjudged } from '../store/model-state.js';
import type { CheckReport, KnownAnswer } from '../store/receipt.js';
import type { AppContext } from './context.js';
import { chooseInstalled, openEngineOf } from './installed.js';
import type { Ready } from './ready-models.js';

/** What came of it is in its manifest afterwards. */
export function judgeInstalled(
  context: AppContext,
  model: Pick<Ready, 'id' | 'manifest' | 'paths'>,
  signal: AbortSignal,
  onAnswer: (answer: KnownAnswer) => void = () => undefined,
): Promise<Judged> {
  const { id, manifest, paths } = model;
  return judgeModel({
    open: (at) => openEngineOf(context, model, at),
    questions: [],
    host: context.host,
    diskBytesPerSecond: null,
    ...{ id, manifest, paths, onAnswer, signal },
  });
}

/** The same by an engine that serves it, which stays open; null where somebody has judged it already. */
export async function judgeServed(
  context: AppContext,
  engine: Engine,
  id: string,
  signal: AbortSignal,
): Promise<CheckReport | null> {
  const { manifest, paths } = await chooseInstalled(context, id);
  if (!isUnjudged(manifest)) return null;
  const { report } = await judgeModel({
    open: () => Promise.resolve(engine),
    lent: true,
    questions: [],
    host: context.host,
    diskBytesPerSecond: null,
    ...{ id, manifest, paths, signal },
    onAnswer: () => undefined,
  });
  return report;
}
