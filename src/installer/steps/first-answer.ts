// The last step: nothing is called done before the model has said something that could be judged.

import type { Emit } from '../../jobs/events.js';
import { judgeModel, refusal, type Judged, type JudgeTask } from '../judge.js';

/** Throws ERR_KNOWN_ANSWER with all that is wrong, after all questions; ERR_MODEL_DAMAGED for a bad file. */
export async function firstAnswers(
  task: Omit<JudgeTask, 'onAnswer'> & { emit: Emit },
): Promise<Judged> {
  const { emit, id } = task;
  emit({ type: 'step', step: 'first-answer', status: 'started' });
  try {
    const onAnswer: JudgeTask['onAnswer'] = (answer) => emit({ type: 'answer', answer });
    const judged = await judgeModel({ ...task, onAnswer });
    if (judged.report.verdict === 'failed') throw refusal(id, judged.report);
    emit({ type: 'step', step: 'first-answer', status: 'done' });
    return judged;
  } catch (error) {
    emit({ type: 'step', step: 'first-answer', status: 'failed' });
    throw error;
  }
}
