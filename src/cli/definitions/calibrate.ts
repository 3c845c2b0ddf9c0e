import type { Command } from 'commander';
import type { BackendName } from '../../addon/types.js';
import type { Quant } from '../../models/quant.js';
import { backendOption, examples, quantOption, wholeNumber } from '../command-options.js';
import type { Done, Open } from '../definition.js';

interface CalibrateFlags {
  text: string[];
  out?: string;
  tokens: number;
  quant?: Quant;
  backend?: BackendName;
}

/** Sixteen pieces: each reads every expert that it chooses once. */
const MOST_TOKENS = 16_384;

export function defineCalibrate(program: Command, open: Open, done: Done): void {
  const command = program
    .command('calibrate')
    .description('see which weights a text uses, so that two bits can be spent on those')
    .argument('[model]', 'a name of `flashmoe status`')
    .requiredOption('--text <files...>', 'what the model is used for: text, or *.jsonl of chats')
    .option('--out <file>', 'write there (default: MODEL.calibration.safetensors)')
    .option('--tokens <count>', 'of the texts, at most', wholeNumber, MOST_TOKENS)
    .addOption(quantOption('which of the installed widths sees the text'))
    .addOption(backendOption())
    .action(async (model: string | undefined, flags: CalibrateFlags) => {
      const { calibrate } = await import('../commands/calibrate.js');
      const { text: texts, out = null, tokens, quant = null, backend = null } = flags;
      const args = { model: model ?? null, texts, out, tokens, quant, backend };
      done(await calibrate(await open(command), args));
    });
  examples(command, [
    ['flashmoe calibrate tiny --text notes.md', 'text as it stands'],
    ['flashmoe calibrate tiny --text chats.jsonl', '{"messages": [...]} a line'],
  ]);
}
