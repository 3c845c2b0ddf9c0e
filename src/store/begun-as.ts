// requantise.json in a model's folder while it is made of another width that is here: what the command was, so that status
// can say how it goes on. Gone when it is finished.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { writeFileAtomic } from '../base/atomic-file.js';
import { removeOwned } from '../base/owned-files.js';
import type { ModelPaths } from '../base/paths.js';
import { QUANTS } from '../models/quant.js';
import { BEGUN_AS_FILE } from './model-files.js';

const begunAs = z.object({
  format: z.literal('flashmoe-requantise'),
  version: z.literal(1),
  /** Folder of the model as published. */
  model: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,200}$/),
  quant: z.enum(QUANTS),
  inPlace: z.boolean(),
});

export type BegunAs = Pick<z.infer<typeof begunAs>, 'model' | 'quant' | 'inPlace'>;

/** null where no such run has begun, or nobody can tell. */
export async function readBegunAs({ root }: Pick<ModelPaths, 'root'>): Promise<BegunAs | null> {
  try {
    return begunAs.parse(JSON.parse(await readFile(join(root, BEGUN_AS_FILE), 'utf8')));
  } catch {
    return null;
  }
}

export async function writeBegunAs(
  { root }: Pick<ModelPaths, 'root'>,
  { model, quant, inPlace }: BegunAs,
): Promise<void> {
  const content = { format: 'flashmoe-requantise', version: 1, model, quant, inPlace };
  await writeFileAtomic(join(root, BEGUN_AS_FILE), `${JSON.stringify(content)}\n`);
}

export async function removeBegunAs({ root }: Pick<ModelPaths, 'root'>): Promise<void> {
  await removeOwned({ root, owns: (path) => path === BEGUN_AS_FILE }, BEGUN_AS_FILE);
}

/** Arguments of `flashmoe` that go on with it; the calibration that it began with is in its folder. */
export function requantiseArguments({ model, quant, inPlace }: BegunAs): string[] {
  return ['requantise', model, '--quant', quant, ...(inPlace ? ['--in-place'] : [])];
}
