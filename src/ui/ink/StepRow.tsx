import { Text } from 'ink';
import { formatBytes, formatDurationRange, formatRate } from '../../base/format.js';
import { bar, percent } from '../bar.js';
import { fetchFigures, packFigures, shardsFetched } from '../../jobs/progress.js';
import type { RunView, StepView } from '../../jobs/run-view.js';
import type { Style } from '../style.js';
import type { Size } from './Frame.js';

interface StepRowProps {
  step: StepView;
  run: RunView;
  now: number;
  size: Size;
  style: Style;
}

const COLOR = {
  pending: 'gray',
  started: 'cyan',
  done: 'green',
  skipped: 'green',
  failed: 'red',
} as const;

const NAME_WIDTH = 14;

/** A step: mark, name, and what is known of it; fetch takes a second line while it runs. */
export function StepRow({ step, run, now, size, style }: StepRowProps) {
  const { ok, skip, fail, pointer } = style.glyph;
  const mark = { pending: ' ', started: pointer, done: ok, skipped: skip, failed: fail };
  const room = Math.max(10, size.columns - 2 - 2 - NAME_WIDTH);
  const [first, second] = words(step, run, now, room, style);
  return (
    <>
      <Text wrap="truncate" dimColor={step.status === 'pending'}>
        <Text color={COLOR[step.status]}>{mark[step.status]}</Text>{' '}
        {step.step.replace('-', ' ').padEnd(NAME_WIDTH)}
        {first}
      </Text>
      {second === undefined ? null : (
        <Text wrap="truncate">
          {' '.repeat(2 + NAME_WIDTH)}
          {second}
        </Text>
      )}
    </>
  );
}

function words(step: StepView, run: RunView, now: number, room: number, style: Style): string[] {
  const barWidth = Math.max(8, Math.min(60, room - 34));
  if (step.step === 'fetch' && step.status === 'started') {
    const { fraction, doneBytes, totalBytes, bytesPerSecond, secondsLeft } = fetchFigures(run, now);
    const figures = `${percent(fraction).padStart(5)}  ${formatBytes(doneBytes)} of ${formatBytes(totalBytes)}`;
    const speed = bytesPerSecond === null ? [] : [formatRate(bytesPerSecond)];
    const left =
      secondsLeft === null
        ? []
        : [`${formatDurationRange(secondsLeft.low, secondsLeft.high)} left`];
    const shards = `${shardsFetched(run)} of ${run.plan?.shards ?? '?'} shards`;
    return [
      `${bar(fraction, barWidth, style.glyph)} ${figures}`,
      [shards, ...speed, ...left].join(', '),
    ];
  }
  if (step.step === 'pack' && (step.status === 'started' || step.status === 'done')) {
    const { fraction, layersDone, layers } = packFigures(run, now);
    if (step.status === 'done') return [`${layers} layers`];
    return [
      `${bar(fraction, barWidth, style.glyph)} ${percent(fraction).padStart(5)}  ${layersDone} of ${layers} layers`,
    ];
  }
  if (step.step === 'engine' && step.status === 'started') {
    const task = run.build.at(-1);
    if (task !== undefined) return [`${task.task} ${task.status}`];
  }
  if (step.step === 'first-answer' && run.answers.length > 0) {
    const right = run.answers.filter((answer) => answer.ok).length;
    return [`${right} of ${run.answers.length} answers right`];
  }
  return [step.detail ?? ''];
}
