// What a definition of a command is given: it names options and examples, and imports what the command does only when it runs.

import type { Command } from 'commander';
import type { CliContext } from './context.js';

/** Builds the context of a run. */
export type Open = (command: Command) => Promise<CliContext>;
/** Takes its exit status. */
export type Done = (status: number) => void;
