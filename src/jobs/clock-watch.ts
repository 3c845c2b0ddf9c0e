// Notices that the machine slept, and that somebody set the clock. Two clocks are compared at each tick: the
// wall's, and the time since boot, which counts sleep but can't be set.

import { clockJump } from '../base/clock-jump.js';
import type { Host } from '../base/host.js';
import type { Emit } from './events.js';

const TICK_MS = 5_000;

export interface ClockWatch {
  close(): void;
}

/** `onWake` after a sleep: connections that were open before it are dead, though nobody has said so. */
export function watchClock(
  host: Pick<Host, 'now' | 'uptime'>,
  emit: Emit,
  onWake: () => void,
  tickMs = TICK_MS,
): ClockWatch {
  const look = (): { wall: number; uptime: number } => ({
    wall: host.now(),
    uptime: host.uptime(),
  });
  let before = look();
  const timer = setInterval(() => {
    const now = look();
    const jump = clockJump(before, now, tickMs);
    before = now;
    if (jump.sleptMs > 0) {
      const from = new Date(now.wall - jump.sleptMs).toISOString();
      emit({ type: 'slept', from, until: new Date(now.wall).toISOString() });
      onWake();
    } else if (jump.setByMs !== 0) {
      const minutes = Math.round(Math.abs(jump.setByMs) / 60_000);
      const way = jump.setByMs > 0 ? 'forward' : 'back';
      emit({ type: 'notice', message: `the clock was set ${way} by ${minutes} min` });
    }
  }, tickMs);
  timer.unref();
  return { close: () => clearInterval(timer) };
}
