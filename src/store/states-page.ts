// docs/states.md, from the state model itself.

import { CHECK_VERSION, type CheckReport } from './receipt.js';
import { MODEL_STATES, modelState, STATE_MEANINGS, type StateFacts } from './model-state.js';

const none: StateFacts = { id: 'MODEL', owner: null, plan: null, manifest: null, problem: null };
const plan = { doneBytes: 1, downloadBytes: 2 };
const check: CheckReport = {
  ...{ version: CHECK_VERSION, at: '', verdict: 'passed', reasons: [], answers: [] },
  ...{ passage: null, notJudged: [], cost: { decodedTokens: 0, readTokens: 0, seconds: 0 } },
};
const wrong: CheckReport = { ...check, verdict: 'failed', reasons: ['2 of 9 answers are wrong'] };

/** One for each way into a state. */
export const STATE_EXAMPLES: readonly StateFacts[] = [
  none,
  { ...none, away: '/Volumes/Big', problem: '/Volumes/Big is not there' },
  { ...none, plan: { doneBytes: 0, downloadBytes: 2 } },
  { ...none, owner: { waiting: null }, plan },
  { ...none, owner: { waiting: { code: 'paused', reason: 'paused' } }, plan },
  { ...none, owner: { waiting: { code: 'hours', reason: 'outside its hours' } }, plan },
  { ...none, plan, outcome: 'ERR_INTERRUPTED' },
  { ...none, plan, outcome: null },
  { ...none, plan, outcome: 'ERR_DISK_FULL' },
  { ...none, plan: { doneBytes: 2, downloadBytes: 2 } },
  { ...none, manifest: { receipt: null } },
  { ...none, manifest: { receipt: {} } },
  {
    ...none,
    manifest: {
      check: {
        ...check,
        verdict: 'unjudged',
        notJudged: ['arithmetic: it thinks longer than the check waits'],
      },
      receipt: {},
    },
  },
  { ...none, manifest: { check: wrong, receipt: null } },
  { ...none, problem: 'manifest.json is damaged' },
  { ...none, manifest: { check, receipt: {} } },
];

export function statesPage(): string {
  const rows = MODEL_STATES.map(
    (name) => `| ${name} | ${STATE_MEANINGS[name].is} | ${STATE_MEANINGS[name].serves} |`,
  );
  const ways = STATE_EXAMPLES.map((facts) => {
    const { state, why, next } = modelState(facts);
    const words = next.map((word) => (word.includes(' ') ? `"${word}"` : word)).join(' ');
    return `| ${state} | ${why ?? ''} | \`flashmoe ${words}\` |`;
  });
  return `# States of a model

Made from \`src/store/model-state.ts\` by \`node tools/pages.mjs\`. One state model stands behind the wizard, \`flashmoe status\`,
\`report\`, \`doctor\` and \`serve\`; \`status --json\` has \`state\`, \`why\` and \`next\`.

| state | the model | serves |
| --- | --- | --- |
${rows.join('\n')}

A model that is not ready is served with a line that says so; one that failed is never taken unless it is named or is the
default. Models that were set up before their answers were judged are unjudged until the next \`setup\`, \`verify\` or \`doctor\`, or until a
server that has one in memory got no request for five seconds: it judges it then, ends that at once for a request, and begins anew
afterwards. A server that was told to compute fewer experts judges nothing.

## What leads on

| state | why | command |
| --- | --- | --- |
${ways.join('\n')}
`;
}
