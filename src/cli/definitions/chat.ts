import type { Command } from 'commander';
import { runOptions } from '../../settings/engine-options.js';
import { examples } from '../command-options.js';
import type { Done, Open } from '../definition.js';
import { addOptions, typedValues } from '../option-flags.js';

export function defineChat(program: Command, open: Open, done: Done): void {
  const command = program
    .command('chat')
    .description('talk to a model; uses the running server when there is one')
    .argument('[model]', 'a name of `flashmoe status`')
    .option('--thinking', 'let the model think first')
    .option('--no-thinking', 'answer at once')
    .action(async (model: string | undefined, { thinking }: { thinking?: boolean }) => {
      const { chat } = await import('../commands/chat.js');
      const typed = typedValues(command, runOptions);
      const args = { ...typed, model: model ?? typed.model, thinking: thinking ?? null };
      done(await chat(await open(command), args));
    });
  addOptions(command, runOptions);
  examples(command, [
    ['flashmoe chat', 'with the default model; /help inside'],
    ['flashmoe chat tiny --system "Be brief."', 'told something first'],
    ['echo "2+2?" | flashmoe chat', 'a line is a message'],
  ]);
}
