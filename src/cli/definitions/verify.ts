import type { Command } from 'commander';
import { examples } from '../command-options.js';
import type { Done, Open } from '../definition.js';

export function defineVerify(program: Command, open: Open, done: Done): void {
  const command = program
    .command('verify')
    .description('read every file again and compare its hashes')
    .argument('[model]', 'a name of `flashmoe status`; all models without it')
    .option('--repair', 'fetch and make anew the bad blocks, and nothing else')
    .action(async (model: string | undefined, { repair = false }: { repair?: boolean }) => {
      const { verify } = await import('../commands/verify.js');
      done(await verify(await open(command), { model: model ?? null, repair }));
    });
  examples(command, [
    ['flashmoe verify', 'all models; exit status 1 when a file differs'],
    ['flashmoe verify tiny --repair', 'a flipped byte costs its block of 16 MiB'],
    ['flashmoe verify tiny --json', 'every file with its verdict'],
  ]);
}
