import type { Command } from 'commander';
import { examples } from '../command-options.js';
import type { Done, Open } from '../definition.js';

export function defineReport(program: Command, open: Open, done: Done): void {
  const command = program
    .command('report')
    .description('how a setup went: rates, waits and why, bytes, sleeps, hash')
    .argument('[model]', 'a name of `flashmoe status`')
    .action(async (model: string | undefined) => {
      const { report } = await import('../commands/report.js');
      done(await report(await open(command), model ?? null));
    });
  examples(command, [
    ['flashmoe report', 'in the morning'],
    ['flashmoe report qwen3.5-397b --json', 'the same as one JSON line'],
  ]);
}
