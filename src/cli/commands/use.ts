// flashmoe use MODEL: which model answers when none is named.

import { EXIT } from '../../base/errors.js';
import { changeSettings } from '../../settings/file.js';
import type { CliContext } from '../context.js';
import { chooseInstalled } from '../../application/installed.js';

export async function use(context: CliContext, name: string): Promise<number> {
  const { id, manifest } = await chooseInstalled(context, name);
  const { model, quant } = manifest;
  await changeSettings(context.home.settings, { model, quant });
  if (context.json) context.emit('default', { id, model, quant });
  else {
    context.print(`${id} answers when no model is named`);
    context.note('a running server keeps its model until it starts again');
  }
  return EXIT.done;
}
