#!/usr/bin/env node
// A stand-in for launchctl. State: `gui` (someone is logged in at the screen), `dying` (how many times
// `print` still finds a job after bootout), `bootstrapBusy` (how often bootstrap fails with 5 first),
// `disabled` (labels switched off in launchd's database).
import { existsSync, readFileSync, statSync } from 'node:fs';
import { args, isAlive, leave, start, state } from './stand-in-state.mjs';

const [verb, target = '', path = ''] = args;
const [kind, uid, label] = target.split('/');
const domain = `${kind}/${uid}`;
const where = `domain for user ${kind}: ${uid}`;
const hasDomain = kind === 'user' || (kind === 'gui' && state.gui);

/** @type {Record<string, () => void | Promise<void>>} */
const verbs = {
  print() {
    if (!hasDomain) leave(112, { err: `Bad request.\nCould not find ${where}` });
    if (!label) leave(0, { out: `${domain} = {\n\ttype = login\n}` });
    const job = state.jobs[label];
    if (!job) leave(113, { err: `Bad request.\nCould not find service "${label}" in ${where}` });
    if (job.dying !== undefined && job.dying-- <= 0) {
      delete state.jobs[label];
      leave(113, { err: `Bad request.\nCould not find service "${label}" in ${where}` });
    }
    const running = job.pid !== null && isAlive(job.pid);
    const lines = [
      'active count = 1',
      `path = ${job.path}`,
      'type = LaunchAgent',
      `state = ${running ? 'running' : 'not running'}`,
      '',
      `program = ${job.command[0]}`,
      `arguments = {\n\t\t${job.command.join('\n\t\t')}\n\t}`,
      'environment = {\n\t\tXPC_SERVICE_NAME => x\n\t}',
      'minimum runtime = 30',
      ...(running ? [`pid = ${job.pid}`] : []),
      `last exit code = ${job.lastExit ?? '(never exited)'}`,
      'properties = runatload | inferred program\n\tjob state = exited\n\tstate = active',
    ];
    leave(0, { out: `${target} = {\n\t${lines.join('\n\t')}\n}` });
  },
  bootout() {
    const job = state.jobs[label];
    if (!job) leave(3, { err: 'Boot-out failed: 3: No such process' });
    if (job.dying !== undefined)
      leave(36, { err: 'Boot-out failed: 36: Operation now in progress' });
    if (job.pid !== null && isAlive(job.pid)) process.kill(job.pid, 'SIGTERM');
    job.dying = state.dying ?? 0;
    leave(0);
  },
  enable() {
    state.disabled = (state.disabled ?? []).filter((name) => name !== label);
    leave(0);
  },
  async bootstrap() {
    const ioError = () => leave(5, { err: 'Bootstrap failed: 5: Input/output error' });
    if (!hasDomain)
      leave(125, { err: 'Bootstrap failed: 125: Domain does not support specified action' });
    if (!existsSync(path)) ioError();
    if (statSync(path).mode & 0o022) ioError();
    if (state.bootstrapBusy > 0) {
      state.bootstrapBusy -= 1;
      ioError();
    }
    const plist = await import('plist');
    const job = plist.parse(readFileSync(path, 'utf8'));
    if (state.jobs[job.Label]) ioError();
    if (state.disabled?.includes(job.Label))
      leave(119, { err: 'Bootstrap failed: 119: Service is disabled' });
    if (job.LimitLoadToSessionType !== (kind === 'gui' ? 'Aqua' : 'Background')) {
      leave(134, { err: 'Bootstrap failed: 134: Service cannot load in requested session' });
    }
    const pid = start({
      command: job.ProgramArguments,
      cwd: job.WorkingDirectory,
      env: job.EnvironmentVariables,
      stdout: job.StandardOutPath,
      stderr: job.StandardErrorPath,
    });
    const lastExit = pid === null ? '78: EX_CONFIG' : null;
    state.jobs[job.Label] = { path, command: job.ProgramArguments, pid, lastExit };
    leave(0);
  },
};

await (verbs[verb] ?? (() => leave(64, { err: `Unrecognized subcommand: ${verb}` })))();
