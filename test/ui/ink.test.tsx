import { renderToString } from 'ink';
import { describe, expect, test } from 'vitest';
import type { PlanSummary } from '../../src/jobs/events.js';
import { WizardView } from '../../src/ui/ink/App.js';
import { EMPTY_RUN, reduce, type RunView } from '../../src/jobs/run-view.js';
import { plainStyle } from '../../src/ui/style.js';
import { FIRST_STATE, type WizardState } from '../../src/ui/wizard-state.js';
import { someModels } from '../helpers/models.js';
import { readRecording } from '../helpers/recording.js';

const style = plainStyle({ color: false, unicode: true });
const SIZES = [
  { columns: 60, rows: 15 },
  { columns: 60, rows: 20 },
  { columns: 80, rows: 24 },
  { columns: 120, rows: 40 },
];

const WIDE = /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe4f\uff00-\uff60]/;

/** Lines on screen with Static output apart; asserts that nothing wraps or overflows. */
function screen(state: WizardState, size: { columns: number; rows: number }): string[] {
  const text = renderToString(<WizardView state={state} size={size} style={style} />, size);
  expect(text).not.toMatch(WIDE);
  const lines = text.split('\n');
  for (const line of lines) expect(line.length, line).toBeLessThan(size.columns);
  const live = lines.slice(state.screen === 'run' ? state.run.log.length : 0);
  expect(live.length, text).toBeLessThan(size.rows);
  return lines;
}

function recorded(name: string): { runs: { run: RunView; now: number }[]; plan: PlanSummary } {
  let run = EMPTY_RUN;
  const runs = readRecording(name).map(({ at, event }) => {
    run = reduce(run, event, at);
    return { run, now: at };
  });
  if (run.plan === null) throw new Error(`${name} holds no plan`);
  return { runs, plan: run.plan };
}

describe.each(SIZES)('the wizard at $columns columns and $rows rows', (size) => {
  const { runs, plan } = recorded('setup-2bit');
  const findings = runs.at(-1)?.run.findings ?? [];

  test('the machine check lists each finding with its remedy', () => {
    const lines = screen({ ...FIRST_STATE, findings }, size);
    expect(lines.join('\n')).toContain('✓ Apple M4 Pro, 14 cores');
    expect(lines.join('\n')).toContain('hint: connect the charger');
    expect(lines.at(-1)).toContain('enter continue');
  });

  test('a machine that cannot do it offers no way on', () => {
    const bad = [...findings, { id: 'machine.arch', severity: 'fail', title: 'Rosetta' } as const];
    expect(screen({ ...FIRST_STATE, findings: bad }, size).at(-1)).not.toContain('continue');
  });

  test('every model of the table is one line, the chosen one is pointed at', () => {
    for (const modelIndex of someModels.keys()) {
      const lines = screen(
        { ...FIRST_STATE, screen: 'model', models: someModels, modelIndex },
        size,
      );
      const pointed = lines.filter((line) => line.includes('›'));
      expect(pointed).toHaveLength(1);
      expect(pointed[0]).toContain((someModels[modelIndex]?.id ?? '?').slice(0, 8));
    }
  });

  test('the chosen model is told of in words: what for, what it takes, how fast and who says so', () => {
    const state: WizardState = {
      ...FIRST_STATE,
      screen: 'model',
      models: someModels,
      modelIndex: 1,
    };
    const text = screen(state, size).join(' ').replace(/\s+/g, ' ');
    expect(text).toContain('chat and code; context 262,144 tokens; licence Apache-2.0');
    if (size.rows >= 20) expect(text).toContain('3.1 to 5.9 tokens/s, computed from');
  });

  test('a repository or a folder is asked for behind the models, and typed', () => {
    const at = { ...FIRST_STATE, models: someModels, modelIndex: someModels.length };
    expect(screen({ ...at, screen: 'model' }, size).join('\n')).toMatch(/› another repository/);
    const typed = `mlx-community/${'long-'.repeat(30)}end`;
    const problem = { message: 'there is no such repository', hint: null };
    const text = screen({ ...at, screen: 'source', typed, problem }, size).join('\n');
    expect(text).toMatch(/Name of the repository[^]*› .*long-end[^]*there is no such/);
  });

  test('the keys are told in place of the screen', () => {
    const state: WizardState = { ...FIRST_STATE, screen: 'plan', plan, showsKeys: true };
    const text = screen(state, size).join('\n');
    expect(text).toMatch(/enter +agree and begin\n +b +agree, in the background/);
    expect(text).toMatch(/any key back$/);
  });

  test('the quantisation screen says what 2-bit costs', () => {
    const text = screen({ ...FIRST_STATE, screen: 'quant', models: someModels }, size).join(' ');
    expect(text).toContain('perplexity');
    expect(text).toContain('2-bit');
  });

  test('the plan shows exact bytes, both disk figures and a time range', () => {
    const state: WizardState = { ...FIRST_STATE, screen: 'plan', plan, service: true };
    const text = screen(state, size).join('\n');
    expect(text).toContain('19,510,000,000 bytes');
    expect(text).toContain('17,233,125,376 bytes');
    if (size.rows > 15) expect(text).toContain('11,844,763,648 bytes');
    expect(text).toContain('7 min to 21 min');
    expect(text).toContain('enter agree and begin');
  });

  test('a plan that does not fit cannot be agreed to', () => {
    const tight = { ...plan, freeBytes: 10_000_000_000 };
    const text = screen({ ...FIRST_STATE, screen: 'plan', plan: tight }, size).join('\n');
    expect(text).toContain('7.23 GB of free space missing');
    expect(text).not.toContain('agree');
  });

  test('no moment of a run wraps, overflows or hides the keys', () => {
    // Every thirteenth moment: some of each kind, in a fraction of the time.
    for (const { run, now } of runs.filter((_, index) => index % 13 === 0)) {
      const lines = screen({ ...FIRST_STATE, screen: 'run', run, now }, size);
      const over = run.receipt !== null || run.failure !== null;
      expect(lines.at(-1)?.includes('q quit safely')).toBe(!over);
    }
  });

  test('a run shows per stage and per shard how far it is, and what the disk holds', () => {
    const index = readRecording('setup-2bit').findIndex(({ event }) => event.type === 'retry');
    const moment = runs[index];
    if (moment === undefined) throw new Error('no retry in the recording');
    const text = screen({ ...FIRST_STATE, screen: 'run', ...moment }, size).join('\n');
    expect(text).toMatch(/fetch +█+░+ +38 % {2}7\.50 GB of 19\.5 GB/);
    expect(text).toMatch(/1 of 4 shards, .*MB\/s, .* left/);
    expect(text).toMatch(/pack +█+░+ +25 % {2}10 of 40 layers/);
    expect(text).toMatch(/model-00002.* 2\.15 GB of 5\.37 GB/);
    expect(text).toMatch(/disk 4\.69 GB used, at most/);
    expect(text).toMatch(/try 2 at \d\d:\d\d: model-00002/);
  });

  test('a wait is shown with its reason', () => {
    const waits = recorded('resume-waits').runs.filter(({ run }) => run.waiting !== null);
    const texts = waits.map((moment) =>
      screen({ ...FIRST_STATE, screen: 'run', ...moment }, size).join('\n'),
    );
    expect(texts[0]).toContain('no connection to huggingface.co');
    expect(texts.at(-1)).toContain('paused by you');
  });
});

test('a window with lines to spare shows a map of the layers', () => {
  const { runs } = recorded('setup-2bit');
  const middle = runs.find(({ run }) => run.packedLayers.length === 15);
  if (middle === undefined) throw new Error('never 15 layers');
  const state: WizardState = { ...FIRST_STATE, screen: 'run', ...middle };
  const text = screen(state, { columns: 120, rows: 40 }).join('\n');
  expect(text).toMatch(/layers █{15}[░›]{25}/);
});
