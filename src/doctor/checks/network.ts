import { isLoopback } from '../../hub/urls.js';
import type { Check } from '../check.js';

/** Asks the hub for one public listing, as a setup does first: names, proxy, certificates and login pages all count. */
export const network: Check = {
  id: 'hub.answers',
  title: 'the hub answers over this network',
  timeoutMs: 12_000,
  async run(context, signal) {
    const answer = await context.hubAnswer(AbortSignal.any([signal, AbortSignal.timeout(10_000)]));
    const id = 'hub.answers';
    if (answer === null) return [];
    const where = new URL(answer.endpoint);
    const name = isLoopback(where) ? where.origin : where.host;
    if (answer.problem === null) {
      const title = `${name} answers, in ${Math.round(answer.milliseconds)} ms`;
      return [{ id, severity: 'ok', title }];
    }
    return [
      {
        id,
        severity: 'warn',
        title: `${name} does not answer: ${answer.problem}`,
        hint: answer.hint ?? 'models that are here work without it; setup and update need it',
      },
    ];
  },
};
