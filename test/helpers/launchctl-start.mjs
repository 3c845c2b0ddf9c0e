// The part of the stand-in launchctl that reads a plist and starts its job as a real process. Runs in
// the folder of its state (launchctl.sh). Usage: KIND PLIST to bootstrap, UID/LABEL jobs/LABEL to kickstart, which
// goes on with what was read at bootstrap, as the real one does.
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as plist from 'plist';
import { start } from './start-job.mjs';

const [kind, path] = process.argv.slice(2);
const isKickstart = path.startsWith('jobs/');
const job = plist.parse(readFileSync(isKickstart ? join(path, 'plist') : path, 'utf8'));
const folder = join('jobs', job.Label);

function refuse(status, what) {
  process.stderr.write(`Bootstrap failed: ${status}: ${what}\n`);
  process.exit(status);
}

if (!isKickstart) {
  if (existsSync('disabled') && readFileSync('disabled', 'utf8').trim() === job.Label) {
    refuse(119, 'Service is disabled');
  }
  if (existsSync(folder)) refuse(5, 'Input/output error');
  if (job.LimitLoadToSessionType !== (kind === 'gui' ? 'Aqua' : 'Background')) {
    refuse(134, 'Service cannot load in requested session');
  }
  mkdirSync(folder, { recursive: true });
  copyFileSync(path, join(folder, 'plist'));
  writeFileSync(join(folder, 'path'), path);
  writeFileSync(join(folder, 'program'), job.ProgramArguments[0]);
}
// launchd.plist(5): SuccessfulExit implies a start at load.
const startsAtLoad = job.RunAtLoad || 'SuccessfulExit' in Object(job.KeepAlive);
if (isKickstart || startsAtLoad) {
  const pid = start({
    command: job.ProgramArguments,
    cwd: job.WorkingDirectory,
    env: job.EnvironmentVariables,
    stdout: job.StandardOutPath,
    stderr: job.StandardErrorPath,
  });
  if (pid === null) writeFileSync(join(folder, 'last'), '78: EX_CONFIG');
  else writeFileSync(join(folder, 'pid'), String(pid));
}
