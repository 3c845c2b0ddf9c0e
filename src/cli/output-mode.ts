// Which of the three views a run speaks through.

export type OutputMode = 'ink' | 'plain' | 'json';

export interface OutputModeFacts {
  json: boolean;
  stdinTTY: boolean;
  stdoutTTY: boolean;
  env: Readonly<Record<string, string | undefined>>;
}

/** Ink draws only where it can also read keys: both streams terminals, no CI, a terminal that moves its cursor. */
export function chooseOutputMode(facts: OutputModeFacts): OutputMode {
  if (facts.json) return 'json';
  const ci = facts.env['CI'];
  const inCi = ci !== undefined && ci !== '' && ci !== '0' && ci !== 'false';
  const smart = facts.env['TERM'] !== 'dumb';
  return facts.stdinTTY && facts.stdoutTTY && !inCi && smart ? 'ink' : 'plain';
}
