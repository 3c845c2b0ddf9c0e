// The small files of a finished model against its manifest. They decide what the weights mean and what a chat is: a
// model whose tables or template were edited still talks, and says other things.

import { join } from 'node:path';
import { FlashmoeError } from '../base/errors.js';
import { hashFile } from '../base/hash-file.js';
import type { ModelPaths } from '../base/paths.js';
import { fileSize } from './disk-sizes.js';
import type { ModelManifest, OwnedFile } from './manifest.js';

/** What takes no time to read; weights are `verify`'s. */
const SMALL_BYTES = 64 << 20;
const TEMPLATE = 'chat_template.jinja';

/** Throws ERR_MODEL_DAMAGED for the first small file that is not the one that was set up. */
export async function requireSmallFiles(
  { model, files }: Pick<ModelManifest, 'model' | 'files'>,
  { root }: Pick<ModelPaths, 'root'>,
): Promise<void> {
  for (const file of files) {
    if (file.path.endsWith('.bin') || file.size > SMALL_BYTES) continue;
    const path = join(root, file.path);
    // What is missing is named by who needs it.
    if ((await fileSize(path)) === null || (await hashFile(path)) === file.sha256) continue;
    throw changed(model, path, file);
  }
}

function changed(model: string, path: string, { path: subject }: OwnedFile): FlashmoeError {
  const hint =
    subject === TEMPLATE
      ? `a template of your own: \`flashmoe setup ${model} --chat-template FILE\`; \`flashmoe verify ${model} --repair\` brings the old one back`
      : `\`flashmoe verify ${model} --repair\` makes it anew`;
  return new FlashmoeError(
    'ERR_MODEL_DAMAGED',
    `${path} is not the file that was set up: its sha256 is another one, so the model was not loaded`,
    { subject, hint },
  );
}
