// flashmoe completions, flashmoe man: texts made from the definitions of the commands.

import { COMMAND_ENTRY } from '../../application/service.js';
import { statSync } from 'node:fs';
import type { Command } from 'commander';
import { EXIT } from '../../base/errors.js';
import { commandTree, type CommandFacts } from '../command-tree.js';
import type { CliContext } from '../context.js';
import type { Shell } from '../shells/shell.js';
import { manualPage } from '../manual.js';
import { bashCompletion } from '../shells/bash.js';
import { fishCompletion } from '../shells/fish.js';
import { zshCompletion } from '../shells/zsh.js';

const OF: Record<Shell, (root: CommandFacts) => string> = {
  bash: bashCompletion,
  zsh: zshCompletion,
  fish: fishCompletion,
};

export function printCompletion(context: CliContext, program: Command, shell: Shell): number {
  return show(context, 'completion', OF[shell](commandTree(program)));
}

export function printManual(context: CliContext, program: Command): number {
  // The day of the build: the page is as old as the program.
  const built = statSync(COMMAND_ENTRY).mtime.toISOString().slice(0, 10);
  return show(context, 'manual', manualPage(commandTree(program), context.version, built));
}

function show(context: CliContext, event: string, text: string): number {
  if (context.json) context.emit(event, { text });
  else context.print(text);
  return EXIT.done;
}
