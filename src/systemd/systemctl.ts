// systemctl --user as typed calls. `show` prints KEY=value lines, a format made for programs.

import type { ExecResult } from '../base/exec.js';
import { FlashmoeError } from '../base/errors.js';

export type RunSystemctl = (args: string[], signal: AbortSignal) => Promise<ExecResult>;

export interface UnitState {
  /** loaded, not-found, bad-setting, error, masked. */
  load: string;
  /** active, activating, deactivating, inactive, failed. */
  active: string;
  /** running, dead, auto-restart, … */
  sub: string;
  /** enabled, disabled, … or empty for a unit that isn't there. */
  file: string;
  pid: number | null;
  /** null until the main process has ended once. */
  lastExitCode: number | null;
}

const PROPERTIES = [
  'LoadState',
  'ActiveState',
  'SubState',
  'UnitFileState',
  'MainPID',
  'ExecMainStatus',
  'ExecMainExitTimestampMonotonic',
];

export function parseShow(text: string): UnitState {
  const values = new Map(
    text.split('\n').map((line): [string, string] => {
      const equals = line.indexOf('=');
      return [line.slice(0, equals), line.slice(equals + 1).trim()];
    }),
  );
  const get = (key: string): string => values.get(key) ?? '';
  const ended = Number(get('ExecMainExitTimestampMonotonic')) > 0;
  return {
    load: get('LoadState'),
    active: get('ActiveState'),
    sub: get('SubState'),
    file: get('UnitFileState'),
    pid: Number(get('MainPID')) || null,
    lastExitCode: ended ? Number(get('ExecMainStatus')) : null,
  };
}

export class Systemctl {
  constructor(private readonly run: RunSystemctl) {}

  /** Whether a user manager runs and answers. */
  async isReachable(signal: AbortSignal): Promise<boolean> {
    const result = await this.run(['--user', 'show', '--property=Version'], signal);
    return result.exitCode === 0;
  }

  async show(unit: string, signal: AbortSignal): Promise<UnitState> {
    return parseShow(await this.call(['show', unit, `--property=${PROPERTIES.join(',')}`], signal));
  }

  /** Reads changed unit files; without it systemd goes on with the old text. */
  async daemonReload(signal: AbortSignal): Promise<void> {
    await this.call(['daemon-reload'], signal);
  }

  /** Starts at login from now on. */
  async enable(unit: string, signal: AbortSignal): Promise<void> {
    await this.call(['enable', unit], signal);
  }

  /** Starts it, or starts it anew with a changed definition; `enable --now` would leave a running one as it is. */
  async restart(unit: string, signal: AbortSignal): Promise<void> {
    await this.call(['restart', unit], signal);
  }

  async start(unit: string, signal: AbortSignal): Promise<void> {
    await this.call(['start', unit], signal);
  }

  /** Waits until it has ended. */
  async stop(unit: string, signal: AbortSignal): Promise<void> {
    await this.call(['stop', unit], signal);
  }

  /** No longer at login; what runs goes on. */
  async disable(unit: string, signal: AbortSignal): Promise<void> {
    await this.call(['disable', unit], signal);
  }

  async disableNow(unit: string, signal: AbortSignal): Promise<void> {
    await this.call(['disable', '--now', unit], signal);
  }

  private async call(args: string[], signal: AbortSignal): Promise<string> {
    const result = await this.run(['--user', ...args], signal);
    if (result.exitCode === 0) return result.stdout;
    throw new FlashmoeError(
      'ERR_SERVICE',
      `systemctl --user ${args.join(' ')}: exit ${result.exitCode}, it said: ${result.stderr.trim() || 'nothing'}`,
      { hint: '`flashmoe serve` runs the server without systemd' },
    );
  }
}
