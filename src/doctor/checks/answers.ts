import { existsSync } from 'node:fs';
import { asFlashmoeError } from '../../base/errors.js';
import { monotonic } from '../../base/host.js';
import type { Check } from '../check.js';
import type { Finding } from '../finding.js';
import type { DoctorContext } from '../context.js';
import { hasWorkingAddon } from './engine.js';

const id = 'models.answers';
/** For all models together: a giant from a slow disk takes minutes. */
const BUDGET_MS = 150_000;

/** The questions that setup ends with, asked again: nonsense is what a damaged model writes most fluently. */
export const answers: Check = {
  id,
  title: 'answers of every model, judged',
  timeoutMs: BUDGET_MS + 30_000,
  alone: true,
  async run(context, signal) {
    const { complete } = await context.models(signal);
    if (complete.length === 0) {
      return [{ id, severity: 'skip', title: 'no model is set up that could be asked' }];
    }
    if (!(await hasWorkingAddon(context, signal))) {
      return [{ id, severity: 'skip', title: 'models not asked: no engine loads here' }];
    }
    const end = monotonic() + BUDGET_MS;
    const findings: Finding[] = [];
    for (const { id: name, root } of complete) {
      if (!existsSync(root)) continue;
      findings.push(await ask(context, name, end - monotonic(), signal));
    }
    return findings;
  },
};

async function ask(
  context: DoctorContext,
  name: string,
  leftMs: number,
  signal: AbortSignal,
): Promise<Finding> {
  const late: Finding = {
    id,
    severity: 'skip',
    title: `${name}: not asked to the end, ${BUDGET_MS / 1000} s were over`,
    hint: `flashmoe verify ${name}`,
  };
  if (leftMs <= 0) return late;
  const timer = AbortSignal.timeout(Math.ceil(leftMs));
  try {
    const known = await context.askKnown(name, AbortSignal.any([signal, timer]));
    const asked = known.map(({ name: question }) => question).join(', ');
    return { id, severity: 'ok', title: `${name} answers as it must: ${asked}` };
  } catch (thrown) {
    if (timer.aborted && !signal.aborted) return late;
    const { message, hint = `flashmoe verify ${name}`, code } = asFlashmoeError(thrown);
    if (code === 'ERR_INTERRUPTED') throw thrown;
    const why = 'a model that answers simple questions wrongly must not be trusted with others';
    return { id, severity: 'fail', title: message.split('\n').join('; '), why, hint };
  }
}
