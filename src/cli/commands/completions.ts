// flashmoe completions, flashmoe man: texts made from the definitions of the commands.

import { COMMAND_ENTRY } from '../../application/service.js';
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { packageRoot } from '../../base/package-root.js';
import { EXIT } from '../../base/errors.js';
import { commandTree, type CommandFacts } from '../command-tree.js';
import type { CliContext } from '../context.js';
import type { Shell } from '../shells/shell.js';
import { manualPage } from '../manual.js';
import { bashCompletion } from '../shells/bash.js';
import { fishCompletion } from '../shells/fish.js';
import { zshCompletion } from '../shells/zsh.js';

const OF: Record<Shell, (root: CommandFacts, skills: readonly string[]) => string> = {
  bash: bashCompletion,
  zsh: zshCompletion,
  fish: fishCompletion,
};

export function printCompletion(context: CliContext, program: Command, shell: Shell): number {
  return show(context, 'completion', OF[shell](commandTree(program), skills()));
}

/** Of the prompts that come with flashmoe, a file each. */
function skills(): string[] {
  return readdirSync(join(packageRoot, 'models', 'tiny-eval'))
    .filter((name) => name.endsWith('.jsonl'))
    .map((name) => name.slice(0, -'.jsonl'.length));
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
