import { Text } from 'ink';
import { formatBytes, formatDuration } from '../../base/format.js';
import { clockOf } from '../../base/clock.js';
import { fetchFigures, retryText } from '../../jobs/progress.js';
import type { LogLine, RunView } from '../../jobs/run-view.js';
import type { Style } from '../style.js';
import { shorten } from '../table.js';
import type { WizardState } from '../wizard-state.js';
import { Frame, isNarrow, type Size } from './Frame.js';
import { LayerMap } from './LayerMap.js';
import type { ScreenProps } from './MachineScreen.js';
import { RetryList } from './RetryList.js';
import { ShardList } from './ShardList.js';
import { StepRow } from './StepRow.js';

/** Lines of the frame that are always there: title, steps with two detail lines, status, keys, blanks. */
const FIXED_ROWS = 19;

export function RunScreen({ state, size, style }: ScreenProps) {
  const { run, now } = state;
  const plan = run.plan ?? state.plan;
  const elapsed = run.startedAt === null ? 0 : (now - run.startedAt) / 1000;
  const name = plan === null ? '' : ` ${plan.model} ${plan.quant.replace('bit', '-bit')}`;
  const spare = Math.max(0, size.rows - FIXED_ROWS);
  const low = size.rows <= FIXED_ROWS;
  const blank = low ? null : <Text> </Text>;
  const steps = low ? currentSteps(run.steps) : run.steps;
  return (
    <Frame
      size={size}
      title={`flashmoe setup${name}`}
      aside={formatDuration(elapsed)}
      showsKeys={state.showsKeys}
      keys={keysOf(state, size)}
    >
      {steps.map((step) => (
        <StepRow key={step.step} step={step} run={run} now={now} size={size} style={style} />
      ))}
      {blank}
      {state.showsRetries ? (
        <RetryList run={run} size={size} room={Math.max(4, Math.min(spare, 12))} />
      ) : (
        <ShardList run={run} size={size} style={style} room={Math.min(low ? 2 : spare, 8)} />
      )}
      {spare > 10 && !state.showsRetries ? <LayerMap run={run} size={size} style={style} /> : null}
      <DiskLine run={run} />
      <Text wrap="truncate">{statusText(state, run, now)}</Text>
    </Frame>
  );
}

/** Of what is going on, and what comes next. */
function currentSteps(steps: RunView['steps']): RunView['steps'] {
  const first = steps.findIndex(({ status }) => status !== 'done' && status !== 'skipped');
  return first < 0 ? steps.slice(-1) : steps.slice(first, first + 3);
}

function keysOf(
  { run, leaving, paused, attached, showsRetries }: WizardState,
  size: Size,
): [string, string][] {
  if (run.receipt !== null || run.failure !== null) return [];
  if (leaving !== null) return [['ctrl-c', 'stop at once']];
  const what = showsRetries ? 'shards' : `retries (${run.failedTryCount})`;
  const retries: [string, string][] = run.failedTryCount === 0 ? [] : [['r', what]];
  if (attached !== null) {
    return [['p', paused ? 'go on' : 'pause'], ['q', 'leave, the setup goes on'], ...retries];
  }
  return [
    ['p', paused ? 'go on' : 'pause'],
    ['b', isNarrow(size) ? 'background' : 'go on in the background'],
    ['q', 'quit safely'],
    ...retries,
  ];
}

/** What is done, as it is printed above the frame. */
export function logText({ tone, text }: LogLine, style: Style, { columns }: Size): string {
  const mark = tone === 'good' ? style.good(style.glyph.ok) : style.glyph.info;
  return ` ${mark} ${shorten(text, columns - 4)}`;
}

function DiskLine({ run }: { run: RunView }) {
  if (run.disk === null) return <Text> </Text>;
  const promised = run.plan === null ? '' : ` of ${formatBytes(run.plan.peakBytes)} promised`;
  return (
    <Text dimColor wrap="truncate">
      disk {formatBytes(run.disk.usedBytes)} used, at most {formatBytes(run.disk.peakBytes)}
      {promised}, {formatBytes(run.disk.freeBytes)} free
    </Text>
  );
}

/** Why nothing moves, when nothing moves; one line that is always there, so the frame never jumps. */
function statusText({ leaving, attached }: WizardState, run: RunView, now: number): string {
  if (leaving !== null && attached !== null) return 'leaving; the setup goes on';
  if (leaving === 'quit') return 'stopping: what is in hand is being written, nothing is lost';
  if (leaving === 'background') return 'handing over to the background';
  if (run.waiting !== null) {
    const { reason, until, since } = run.waiting;
    const next = until === null ? '' : `, next try ${clockOf(until)}`;
    return `waiting ${formatDuration((now - since) / 1000)}: ${reason}${next}`;
  }
  if (run.retry !== null) {
    const { attempt, nextAt } = run.retry;
    return `try ${attempt} at ${clockOf(nextAt)}: ${retryText(run.retry)}`;
  }
  const fetching = run.steps.some(({ step, status }) => step === 'fetch' && status === 'started');
  const stalled = fetchFigures(run, now).stalledSeconds;
  return fetching && stalled > 0 ? `no bytes for ${formatDuration(stalled)}` : ' ';
}
