import { Text } from 'ink';
import { formatBytes } from '../../base/format.js';
import type { PlanSummary } from '../../jobs/events.js';
import { planPairs } from '../plan-view.js';
import { pairLines } from '../table.js';
import { missingBytes } from '../wizard-state.js';
import { Frame, isLow, isNarrow, type Size } from './Frame.js';
import type { ScreenProps } from './MachineScreen.js';
import { Problem } from './Problem.js';

/** Title, service, keys and blanks; then the promise with its own. */
const FIXED_ROWS = 5;
const PROMISE_ROWS = 2;
/** Rows that a low window has no room for. */
const LESSER = new Set(['directory', 'disk at the end', 'already here']);

/** All of the plan where there is room for it, else without what it can be agreed to without. */
function linesOf(plan: PlanSummary, size: Size): string[] {
  const pairs = planPairs(plan);
  const width = size.columns - 2;
  const all = pairLines(pairs, { width });
  if (all.length + FIXED_ROWS < size.rows && !isLow(size)) return all;
  return pairLines(
    pairs.filter(([name]) => !LESSER.has(name)),
    { width },
  );
}

export function PlanScreen({ state, size }: ScreenProps) {
  const { plan } = state;
  const narrow = isNarrow(size);
  const lines = plan === null ? [] : linesOf(plan, size);
  const missing = plan === null ? 0 : missingBytes(plan);
  const agree: [string, string][] =
    plan !== null && missing === 0 ? [['enter', 'agree and begin']] : [];
  const service: [string, string][] =
    state.service === null ? [] : [['space', narrow ? 'service' : 'service yes/no']];
  // Where there is no room for it, `?` tells of it.
  const background: [string, string][] =
    agree.length === 0 || (narrow && !state.showsKeys) ? [] : [['b', 'agree, in the background']];
  return (
    <Frame
      size={size}
      title="flashmoe setup"
      aside="the plan"
      showsKeys={state.showsKeys}
      keys={[...agree, ...background, ...service, ['esc', 'back'], ['q', 'quit']]}
    >
      {state.busy === null ? null : <Text dimColor>{state.busy}</Text>}
      {state.problem === null ? null : <Problem problem={state.problem} size={size} />}
      {lines.map((line, index) => (
        <Text key={index}>{line}</Text>
      ))}
      {plan === null || state.service === null ? null : (
        <Text wrap="truncate">
          {pairLines([
            ['service        ', state.service ? 'yes, the server starts at login' : 'no'],
          ])}
        </Text>
      )}
      {missing === 0 ? null : (
        <Text color="red" wrap="truncate">
          {formatBytes(missing)} of free space missing for this plan
        </Text>
      )}
      {plan === null ||
      missing > 0 ||
      lines.length + FIXED_ROWS + PROMISE_ROWS >= size.rows ? null : (
        <>
          <Text> </Text>
          <Text dimColor wrap="truncate">
            Nothing is written before you agree; pause, stop and resume at any time
          </Text>
        </>
      )}
    </Frame>
  );
}
