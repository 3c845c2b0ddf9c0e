// What happened between two looks at the clocks. Pure.

/** Milliseconds. */
export interface ClockReading {
  /** Since the epoch. */
  wall: number;
  /** Since boot, sleep included. */
  uptime: number;
}

export interface ClockJump {
  /** Time for which nothing ran; 0 when the tick came in time. */
  sleptMs: number;
  /** How far the wall clock was set, forward or (negative) back; 0 when it ran on. */
  setByMs: number;
}

/** A busy machine is late by seconds, never by this much. */
const NOTABLE_MS = 45_000;

export function clockJump(before: ClockReading, now: ClockReading, tickMs: number): ClockJump {
  const passed = now.uptime - before.uptime;
  const lateMs = passed - tickMs;
  const setByMs = now.wall - before.wall - passed;
  return {
    sleptMs: lateMs >= NOTABLE_MS ? lateMs : 0,
    setByMs: Math.abs(setByMs) >= NOTABLE_MS ? setByMs : 0,
  };
}
