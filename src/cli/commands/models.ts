// flashmoe models: the catalogue with this machine's verdict.

import { EXIT } from '../../base/errors.js';
import { modelFacts, modelTable } from '../../ui/models-view.js';
import { wrapText } from '../../ui/table.js';
import type { CliContext } from '../context.js';
import { modelChoices } from '../../application/model-choices.js';

/** Wider than this, lines get hard to follow. */
const MOST_COLUMNS = 120;
const INDENT = '  ';

export async function models(context: CliContext): Promise<number> {
  const choices = await modelChoices(context);
  if (context.json) {
    context.emit('models', { models: choices });
    return EXIT.done;
  }
  const width = Math.min(context.stdout.columns || 80, MOST_COLUMNS);
  const [header = '', ...rows] = modelTable(choices, width);
  context.print(context.style.dim(header));
  for (const [index, row] of rows.entries()) {
    context.print(row);
    const model = choices[index];
    if (model === undefined) continue;
    // A pipe gets whole lines.
    const facts = modelFacts(model);
    const lines = context.stdout.isTTY ? wrapText(facts, width - INDENT.length) : [facts];
    for (const line of lines) context.print(INDENT + context.style.dim(line));
  }
  context.note('');
  context.note('flashmoe plan MODEL shows exact bytes; --repo org/name takes other repositories');
  return EXIT.done;
}
