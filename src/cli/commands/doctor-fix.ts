// flashmoe doctor --fix: names what can be put right, asks, and does it. Without a terminal only --yes acts, and
// only on what is safe.

import { COMMAND_ENTRY } from '../../application/service.js';
import { createInterface } from 'node:readline/promises';
import { FlashmoeError } from '../../base/errors.js';
import { exec } from '../../base/exec.js';
import type { Finding, Fix } from '../../doctor/finding.js';
import { commandLine } from '../../application/command-line.js';
import type { CliContext } from '../context.js';

type Fixable = Finding & { fix: Fix };

export async function applyFixes(
  context: CliContext,
  findings: readonly Finding[],
  yes: boolean,
): Promise<void> {
  const fixable = findings.filter((finding): finding is Fixable => finding.fix !== undefined);
  if (fixable.length === 0) {
    context.note('nothing here can be put right by itself');
    return;
  }
  const isAsking = !yes && !context.json && context.stdin.isTTY && context.stderr.isTTY;
  if (!yes && !isAsking) {
    for (const { fix } of fixable) context.note(`would ${fix.what}: ${shown(fix)}`);
    throw new FlashmoeError('ERR_CONFIRM_NEEDED', 'nothing was changed', {
      hint: '`flashmoe doctor --fix --yes` does what is safe of it',
    });
  }
  for (const { id, fix } of fixable) {
    const agreed = yes ? fix.safe : await ask(context, `${fix.what}? (${shown(fix)})`);
    if (agreed) await apply(context, id, fix);
    else context.note(`left as it is: ${fix.what}${yes ? ' (needs to be asked for)' : ''}`);
  }
}

const shown = ({ command: [program, ...args] }: Fix): string =>
  program === 'flashmoe' ? commandLine(args) : [program, ...args].join(' ');

async function ask(context: CliContext, question: string): Promise<boolean> {
  const lines = createInterface({ input: context.stdin, output: context.stderr });
  try {
    const answer = await lines.question(`${question} [y/N] `, { signal: context.signal });
    return /^y(es)?$/i.test(answer.trim());
  } finally {
    lines.close();
  }
}

async function apply(context: CliContext, id: string, fix: Fix): Promise<void> {
  const { host, signal } = context;
  const [program, ...args] = fix.command;
  const home = context.homeOption === null ? [] : ['--home', context.home.home];
  const result =
    program === 'flashmoe'
      ? await exec(host.execPath, [...host.execArgv, COMMAND_ENTRY, ...args, ...home], { signal })
      : await exec(program, args, { signal });
  const ok = result.exitCode === 0;
  if (context.json) context.emit('fix', { id, command: fix.command, ok });
  else if (ok) context.note(`done: ${fix.what}`);
  if (ok) return;
  const said = result.stderr.trim().split('\n')[0] ?? '';
  throw new FlashmoeError('ERR_IO', `could not ${fix.what}: ${said || 'no reason given'}`, {
    hint: shown(fix),
  });
}
