// A model that is here, asked what setup ends with.

import { judgeModel, type Judged } from '../installer/judge.js';
import type { KnownAnswer } from '../store/receipt.js';
import type { AppContext } from './context.js';
import { openEngineOf } from './installed.js';
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
