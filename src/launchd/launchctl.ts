// launchctl as typed calls. Its exit status is trusted; of its text only three lines are read, because
// the man page promises no format.

import { setTimeout } from 'node:timers/promises';
import type { ExecResult } from '../base/exec.js';
import { FlashmoeError } from '../base/errors.js';

export type RunLaunchctl = (args: string[], signal: AbortSignal) => Promise<ExecResult>;

export interface JobState {
  loaded: boolean;
  pid: number | null;
  /** As launchd words it: running, not running, spawn scheduled, … */
  state: string | null;
  lastExitCode: number | null;
}

/** How often and how long to ask again. */
export interface Pace {
  intervalMs: number;
  attempts: number;
}

/** "Could not find service", "No such process". */
const NOT_LOADED = new Set([3, 113]);
const isNotLoaded = ({ exitCode }: ExecResult): boolean =>
  exitCode !== null && NOT_LOADED.has(exitCode);
/** "Operation now in progress": the job is on its way out. */
const IN_PROGRESS = 36;
/** "Input/output error": already loaded, old job still dying, bad file, wrong owner or mode. */
const IO_ERROR = 5;
/** "Operation already in progress": loaded before. */
const ALREADY = 37;
/** A file that launchd will never take also answers 5: don't ask for as long as a stop may last. */
const MAX_TRIES = 40;

export function parsePrint(text: string): Omit<JobState, 'loaded'> {
  const field = (name: string): string | null =>
    new RegExp(`^\\s+${name} = (.+)$`, 'm').exec(text)?.[1]?.trim() ?? null;
  const number = (value: string | null): number | null => {
    const digits = value === null ? null : /^-?\d+/.exec(value);
    return digits ? Number(digits[0]) : null;
  };
  return {
    pid: number(field('pid')),
    state: field('state'),
    // `(never exited)`, `0`, `78: EX_CONFIG`
    lastExitCode: number(field('last exit code')),
  };
}

export class Launchctl {
  /** `domain`: gui/<uid> or user/<uid>. */
  constructor(
    private readonly run: RunLaunchctl,
    readonly domain: string,
  ) {}

  async print(label: string, signal: AbortSignal): Promise<JobState> {
    const result = await this.run(['print', `${this.domain}/${label}`], signal);
    if (result.exitCode === 0) return { loaded: true, ...parsePrint(result.stdout) };
    if (isNotLoaded(result)) {
      return { loaded: false, pid: null, state: null, lastExitCode: null };
    }
    throw failed('print', label, result);
  }

  /** Unloads and waits until launchd no longer knows the label. Nothing to do is fine. */
  async bootout(label: string, pace: Pace, signal: AbortSignal): Promise<void> {
    const result = await this.run(['bootout', `${this.domain}/${label}`], signal);
    if (isNotLoaded(result)) return;
    if (result.exitCode !== 0 && result.exitCode !== IN_PROGRESS) {
      throw failed('bootout', label, result);
    }
    for (let attempt = 0; attempt < pace.attempts; attempt += 1) {
      if (!(await this.print(label, signal)).loaded) return;
      await pause(pace.intervalMs, signal);
    }
    throw new FlashmoeError(
      'ERR_SERVICE',
      `${label}: still shutting down after ${(pace.attempts * pace.intervalMs) / 1000} s; its definition was left as it is`,
      { hint: `launchctl kill SIGKILL ${this.domain}/${label}` },
    );
  }

  /** Clears a switched-off entry in launchd's own database, which outlives files and looks like silence. */
  async enable(label: string, signal: AbortSignal): Promise<void> {
    const result = await this.run(['enable', `${this.domain}/${label}`], signal);
    if (result.exitCode !== 0) throw failed('enable', label, result);
  }

  /** Whether the user, or System Settings for him, has switched it off: then no file makes it start. */
  async isDisabled(label: string, signal: AbortSignal): Promise<boolean> {
    const result = await this.run(['print-disabled', this.domain], signal);
    return result.exitCode === 0 && parseDisabled(result.stdout, label);
  }

  /** Starts a loaded job; `anew` ends a running one first. Does not read a changed file. */
  async kickstart(label: string, anew: boolean, signal: AbortSignal): Promise<void> {
    const flags = anew ? ['-k'] : [];
    const result = await this.run(['kickstart', ...flags, `${this.domain}/${label}`], signal);
    if (result.exitCode !== 0 && result.exitCode !== ALREADY) {
      throw failed('kickstart', label, result);
    }
  }

  /**
   * Loads the file. Status 5 is also what an old job that is still dying causes, so it is tried again.
   * A job found loaded meanwhile has read this file: the caller unloaded the old one before writing it.
   */
  async bootstrap(label: string, path: string, pace: Pace, signal: AbortSignal): Promise<void> {
    for (let attempt = 1; ; attempt += 1) {
      const result = await this.run(['bootstrap', this.domain, path], signal);
      if (result.exitCode === 0) return;
      const perhapsLoaded = result.exitCode === IO_ERROR || result.exitCode === ALREADY;
      if (perhapsLoaded && (await this.print(label, signal)).loaded) return;
      if (result.exitCode !== IO_ERROR || attempt >= Math.min(pace.attempts, MAX_TRIES)) {
        throw failed('bootstrap', label, result, `; ${path} stays, launchd tries it at login`);
      }
      await pause(pace.intervalMs, signal);
    }
  }
}

/** `print-disabled`: `"label" => disabled`, before macOS 13 `=> true`. */
export function parseDisabled(text: string, label: string): boolean {
  return text
    .split('\n')
    .some((line) => line.includes(`"${label}"`) && /=> (disabled|true)\s*$/.test(line));
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await setTimeout(ms, undefined, { signal });
  } catch (cause) {
    throw new FlashmoeError('ERR_INTERRUPTED', 'waiting for launchd was interrupted', { cause });
  }
}

function failed(verb: string, label: string, result: ExecResult, after = ''): FlashmoeError {
  const said = result.stderr.trim() || result.stdout.trim() || 'nothing';
  return new FlashmoeError(
    'ERR_SERVICE',
    `launchctl ${verb} ${label}: exit ${result.exitCode}, it said: ${said}${after}`,
    { hint: '`flashmoe serve` runs the server without launchd', subject: label },
  );
}
