// flashmoe models: the catalogue with this machine's verdict.

import { EXIT } from '../../base/errors.js';
import { modelTable } from '../../ui/models-view.js';
import type { CliContext } from '../context.js';
import { modelChoices } from '../../application/model-choices.js';

/** Wider than this, lines get hard to follow. */
const MOST_COLUMNS = 120;

export async function models(context: CliContext): Promise<number> {
  const choices = await modelChoices(context);
  if (context.json) {
    context.emit('models', { models: choices });
    return EXIT.done;
  }
  const width = Math.min(context.stdout.columns || 80, MOST_COLUMNS);
  const [header = '', ...rows] = modelTable(choices, width);
  context.print(context.style.dim(header));
  for (const row of rows) context.print(row);
  context.note('');
  context.note('flashmoe plan MODEL shows exact bytes; --repo org/name takes other repositories');
  return EXIT.done;
}
