import { describe, expect, it } from 'vitest';
import { Controls, Gate } from '../../src/jobs/controls.js';
import { Limits } from '../../src/jobs/limits.js';
import type { InstallEvent } from '../../src/jobs/events.js';
import { PauseReasons } from '../../src/jobs/pause-reasons.js';

function recorded(): { events: InstallEvent[]; pauseReasons: PauseReasons } {
  const events: InstallEvent[] = [];
  return { events, pauseReasons: new PauseReasons((event) => events.push(event)) };
}

const FULL = { code: 'ERR_DISK_FULL', reason: 'layer_00.bin needs 1 MB more' } as const;

describe('reasons to hold still', () => {
  it('are told once each, and the run has resumed when the last is gone', () => {
    const { events, pauseReasons } = recorded();
    pauseReasons.hold('a', FULL);
    pauseReasons.hold('a', FULL);
    pauseReasons.hold('pause', { code: 'paused', reason: 'paused' });
    pauseReasons.release('pause');
    pauseReasons.release('a');
    pauseReasons.release('a');
    expect(events).toEqual([
      { type: 'waiting', ...FULL },
      { type: 'waiting', code: 'paused', reason: 'paused' },
      { type: 'waiting', ...FULL },
      { type: 'resumed' },
    ]);
  });
});

describe('a gate', () => {
  it('lets work pass while open, holds it while paused, and drops transfers at the pause', async () => {
    const { events, pauseReasons } = recorded();
    const controls = new Controls();
    const gate = new Gate(controls, pauseReasons, new Limits(), { now: Date.now });
    const { signal } = new AbortController();
    await gate.pass(signal);
    const transfer = gate.signal;
    controls.pause();
    controls.pause();
    expect(transfer.aborted).toBe(true);
    const passed = gate.pass(signal);
    controls.resume();
    await passed;
    expect(gate.signal.aborted).toBe(false);
    expect(events.map(({ type }) => type)).toEqual(['waiting', 'resumed']);
    gate.close();
    controls.pause();
    expect(events).toHaveLength(2);
  });

  it('that is closed already when work begins holds it from the start', async () => {
    const { events, pauseReasons } = recorded();
    const controls = new Controls();
    controls.pause();
    const gate = new Gate(controls, pauseReasons, new Limits(), { now: Date.now });
    const abort = new AbortController();
    const passed = gate.pass(abort.signal);
    abort.abort(new Error('enough'));
    await expect(passed).rejects.toThrow('enough');
    expect(events).toMatchObject([{ type: 'waiting', code: 'paused' }]);
  });
});
