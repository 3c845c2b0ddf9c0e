#!/usr/bin/env node
// A stand-in for `systemctl --user`. State: `bus` (a user manager runs). Like the real one it goes on
// with the text it read last until daemon-reload, and `enable --now` leaves a running unit alone.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { start } from './start-job.mjs';
import { args, isAlive, leave, state } from './systemctl-state.mjs';

const [scope, verb, ...rest] = args;
if (scope !== '--user') leave(1, { err: 'the stand-in has no system manager' });
if (!state.bus) leave(1, { err: 'Failed to connect to bus: No medium found' });

const config = process.env.XDG_CONFIG_HOME ?? join(process.env.HOME, '.config');
const unit = rest.find((word) => !word.startsWith('--')) ?? '';
const path = join(config, 'systemd', 'user', unit);
const job = (state.jobs[unit] ??= { text: null, enabled: false, pid: null, lastExit: null });
if (job.text === null && existsSync(path) && unit) job.text = readFileSync(path, 'utf8');

/** Splits the way systemd does: double quotes, backslash escapes, %% and, for arguments, $$. */
function words(line) {
  return [...line.matchAll(/"((?:[^"\\]|\\.)*)"/g)].map(([, word]) =>
    word.replace(/\\(.)/g, '$1').replaceAll('%%', '%'),
  );
}
const values = (key) =>
  [...job.text.matchAll(new RegExp(`^${key}=(.*)$`, 'gm'))].map(([, value]) => value);

/** Like the real one it waits until the process is gone. */
function end() {
  if (job.pid !== null && isAlive(job.pid)) process.kill(job.pid, 'SIGTERM');
  const limit = Date.now() + 20_000;
  while (job.pid !== null && isAlive(job.pid)) {
    if (Date.now() > limit) process.kill(job.pid, 'SIGKILL');
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20);
  }
  job.pid = null;
}

/** @type {Record<string, () => void>} */
const verbs = {
  show() {
    if (rest.includes('--property=Version')) leave(0, { out: 'Version=252' });
    const running = job.pid !== null && isAlive(job.pid);
    const ended = job.pid !== null && !running;
    leave(0, {
      out: [
        `LoadState=${job.text === null ? 'not-found' : 'loaded'}`,
        `ActiveState=${running ? 'active' : 'inactive'}`,
        `SubState=${running ? 'running' : 'dead'}`,
        `UnitFileState=${job.text === null ? '' : job.enabled ? 'enabled' : 'disabled'}`,
        `MainPID=${running ? job.pid : 0}`,
        'ExecMainStatus=0',
        `ExecMainExitTimestampMonotonic=${ended ? 1 : 0}`,
      ].join('\n'),
    });
  },
  'daemon-reload'() {
    for (const [name, known] of Object.entries(state.jobs)) {
      const file = join(config, 'systemd', 'user', name);
      known.text = name && existsSync(file) ? readFileSync(file, 'utf8') : null;
    }
    leave(0);
  },
  enable() {
    if (!existsSync(path))
      leave(1, { err: `Failed to enable unit: Unit file ${unit} does not exist.` });
    job.enabled = true;
    leave(0, { err: `Created symlink ${config}/systemd/user/default.target.wants/${unit}.` });
  },
  disable() {
    job.enabled = false;
    if (rest.includes('--now') && job.pid !== null && isAlive(job.pid))
      process.kill(job.pid, 'SIGTERM');
    job.pid = null;
    leave(0);
  },
  stop() {
    if (job.text === null) leave(5, { err: `Failed to stop ${unit}: Unit ${unit} not loaded.` });
    end();
    leave(0);
  },
  start() {
    if (job.text === null) leave(5, { err: `Failed to start ${unit}: Unit ${unit} not found.` });
    if (job.pid !== null && isAlive(job.pid)) leave(0);
    verbs.restart();
  },
  restart() {
    if (job.text === null) leave(5, { err: `Failed to restart ${unit}: Unit ${unit} not found.` });
    end();
    const [program, ...others] = words(values('ExecStart')[0]);
    const environment = values('Environment').map((line) =>
      words(line)[0].split(/=(.*)/s).slice(0, 2),
    );
    const file = (key) =>
      values(key)[0]
        .replace(/^append:/, '')
        .replaceAll('%%', '%');
    job.pid = start({
      command: [program, ...others.map((word) => word.replaceAll('$$', '$'))],
      cwd: values('WorkingDirectory')[0].replaceAll('%%', '%'),
      env: Object.fromEntries(environment),
      stdout: file('StandardOutput'),
      stderr: file('StandardError'),
    });
    if (job.pid === null) {
      leave(1, {
        err: `Job for ${unit} failed because the control process exited with error code.`,
      });
    }
    leave(0);
  },
};

(verbs[verb] ?? (() => leave(1, { err: `Unknown command verb ${verb}.` })))();
