import { describe, expect, test } from 'vitest';
import { activeShards, fetchFigures, packFigures, shardsFetched } from '../../src/jobs/progress.js';
import { EMPTY_RUN, reduce, type RunView } from '../../src/jobs/run-view.js';
import { readRecording } from '../helpers/recording.js';

function viewAfter(name: string, count = Infinity): { view: RunView; now: number } {
  let view = EMPTY_RUN;
  let now = 0;
  for (const { at, event } of readRecording(name).slice(0, count)) {
    now = at;
    view = reduce(view, event, at);
  }
  return { view, now };
}

/** The view right after the first event that `matches`. */
function viewAt(name: string, matches: (line: string) => boolean): { view: RunView; now: number } {
  const index = readRecording(name).findIndex(({ event }) => matches(JSON.stringify(event)));
  expect(index).toBeGreaterThanOrEqual(0);
  return viewAfter(name, index + 1);
}

describe('events reduced to a view', () => {
  test('a whole run ends with every step settled, all shards and layers counted, and the receipt', () => {
    const { view, now } = viewAfter('setup-2bit');
    expect(view.steps.map(({ step, status }) => `${step} ${status}`)).toEqual([
      'machine done',
      'plan done',
      'engine done',
      'fetch done',
      'pack done',
      'finish done',
      'service skipped',
      'first-answer done',
    ]);
    expect(shardsFetched(view)).toBe(4);
    expect(fetchFigures(view, now).fraction).toBe(1);
    expect(packFigures(view, now)).toMatchObject({ layersDone: 40, layers: 40, fraction: 1 });
    expect(view.build.map(({ task, status }) => `${task} ${status}`)).toEqual([
      'toolchain done',
      'configure done',
      'compile done',
      'self-test done',
    ]);
    expect(view.answers.every((answer) => answer.ok)).toBe(true);
    expect(view.receipt?.tokensPerSecond).toBe(19.4);
    expect(view.failure).toBeNull();
  });

  test('a recording of a real run ends the same way', () => {
    const { view, now } = viewAfter('tiny-real');
    expect(view.steps.every(({ status }) => status === 'done' || status === 'skipped')).toBe(true);
    expect(shardsFetched(view)).toBe(3);
    expect(fetchFigures(view, now)).toMatchObject({ fraction: 1, doneBytes: 2_425_042 });
    expect(packFigures(view, now)).toMatchObject({ layersDone: 8, layers: 8 });
    expect(view.answers.map(({ ok }) => ok)).toEqual([true]);
    expect(view.receipt).not.toBeNull();
  });

  test('what an earlier run left counts as done but not as speed', () => {
    const { view, now } = viewAt('resume-waits', (line) => line.includes('"type":"progress"'));
    const figures = fetchFigures(view, now);
    const plan = view.plan;
    expect(figures.doneBytes).toBe((plan?.doneBytes ?? 0) + view.fetch.done);
    expect(figures.doneBytes).toBeGreaterThan(13_000_000_000);
    expect(view.fetch.moved).toBe(0);
    expect(packFigures(view, now).layersDone).toBe(20);
  });

  test('a wait shows its reason and the time of the next try until the run goes on', () => {
    const waiting = viewAt('resume-waits', (line) => line.includes('ERR_OFFLINE')).view;
    expect(waiting.waiting).toMatchObject({
      code: 'ERR_OFFLINE',
      reason: 'no connection to huggingface.co since 22:41',
    });
    expect(waiting.waiting?.until).not.toBeNull();
    expect(viewAt('resume-waits', (line) => line.includes('"resumed"')).view.waiting).toBeNull();
  });

  test('a retry is shown until its item moves again', () => {
    const retry = viewAt('setup-2bit', (line) => line.includes('"retry"'));
    expect(retry.view.retry).toMatchObject({ attempt: 2, nextAt: retry.now + 8000 });
    const recording = readRecording('setup-2bit');
    const index = recording.findIndex(({ event }) => event.type === 'retry');
    expect(viewAfter('setup-2bit', index + 2).view.retry).toBeNull();
  });

  test('the shard on its way is the active one, with its bytes', () => {
    const { view } = viewAt('setup-2bit', (line) => line.includes('"retry"'));
    expect(activeShards(view)).toEqual([
      { shard: 'model-00002-of-00004.safetensors', done: 2_146_476_032, total: 5_366_190_080 },
    ]);
  });

  test('a failure keeps its code, hint and whether it can be resumed', () => {
    expect(viewAfter('failed-hash').view.failure).toMatchObject({
      code: 'ERR_HASH',
      resumable: false,
    });
  });

  test('reducing never changes the view it was given', () => {
    let view = EMPTY_RUN;
    for (const { at, event } of readRecording('setup-2bit')) {
      const before = JSON.stringify(view);
      const next = reduce(view, event, at);
      expect(JSON.stringify(view)).toBe(before);
      view = next;
    }
  });
});
