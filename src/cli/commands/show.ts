// flashmoe show MODEL: everything known of one model here.

import { EXIT } from '../../base/errors.js';
import { showModel } from '../../application/show.js';
import { showText } from '../../ui/show-view.js';
import type { CliContext } from '../context.js';

export async function show(context: CliContext, name: string): Promise<number> {
  const shown = await showModel(context, name);
  if (context.json) context.emit('model', shown);
  else context.print(showText(shown));
  return EXIT.done;
}
