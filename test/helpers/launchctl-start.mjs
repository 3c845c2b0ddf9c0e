// The part of the stand-in launchctl that reads a plist and starts its job as a real process. Runs in
// the folder of its state (launchctl.sh).
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as plist from 'plist';
import { start } from './start-job.mjs';

const [kind, path] = process.argv.slice(2);
const job = plist.parse(readFileSync(path, 'utf8'));

function refuse(status, what) {
  process.stderr.write(`Bootstrap failed: ${status}: ${what}\n`);
  process.exit(status);
}

if (existsSync('disabled') && readFileSync('disabled', 'utf8').trim() === job.Label) {
  refuse(119, 'Service is disabled');
}
if (existsSync(join('jobs', job.Label))) refuse(5, 'Input/output error');
if (job.LimitLoadToSessionType !== (kind === 'gui' ? 'Aqua' : 'Background')) {
  refuse(134, 'Service cannot load in requested session');
}
const pid = start({
  command: job.ProgramArguments,
  cwd: job.WorkingDirectory,
  env: job.EnvironmentVariables,
  stdout: job.StandardOutPath,
  stderr: job.StandardErrorPath,
});
const folder = join('jobs', job.Label);
mkdirSync(folder, { recursive: true });
const facts = { path, program: job.ProgramArguments[0] };
if (pid === null) facts.last = '78: EX_CONFIG';
else facts.pid = String(pid);
for (const [name, text] of Object.entries(facts)) writeFileSync(join(folder, name), text);
