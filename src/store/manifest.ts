// manifest.json: what a finished model consists of, with sizes and hashes, and the receipt of its setup.
// Its presence means that every file below it was complete and durable once.

import { readFile } from 'node:fs/promises';
import { requireVersion } from '../base/format-version.js';
import * as z from 'zod';
import { writeFileAtomic } from '../base/atomic-file.js';
import { asFlashmoeError, FlashmoeError } from '../base/errors.js';
import { QUANTS } from '../models/quant.js';
import type { CheckReport, Receipt } from './receipt.js';

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const bytes = z.number().int().nonnegative();

/** Relative, below the folder, by plain names: what uninstall may delete. */
const ownedPath = z
  .string()
  .regex(/^[A-Za-z0-9_][A-Za-z0-9._-]*(\/[A-Za-z0-9_][A-Za-z0-9._-]*)*$/)
  .max(512);

const manifest = z.object({
  format: z.literal('flashmoe-model'),
  version: z.literal(1),
  model: z.string().min(1),
  repo: z.string().min(1),
  revision: z.string().min(1),
  commit: z.string().min(1),
  quant: z.enum(QUANTS),
  /** Of a GGUF model: what chose it among the repository's files, as it was typed. */
  file: z.string().min(1).optional(),
  /** Of a GGUF model: the types of its experts as GGUF calls them, that with the most bytes first. */
  expertTypes: z.array(z.string()).optional(),
  fingerprint: sha256,
  files: z.array(z.object({ path: ownedPath, size: bytes, sha256 })),
  /** Those of `files` that the user named; absent where all are from the repository. */
  userFiles: z.array(z.object({ path: ownedPath, sha256, option: z.string() })).optional(),
  finalBytes: bytes,
  contentSha256: sha256,
  /** null until the model gave its known answers. */
  receipt: z.custom<Receipt>((value) => typeof value === 'object').nullable(),
  /** The last check of what it says; absent where nobody has asked yet, as in manifests of old. */
  check: z.custom<CheckReport>((value) => typeof value === 'object' && value !== null).optional(),
});

export type ModelManifest = z.infer<typeof manifest>;
export type OwnedFile = ModelManifest['files'][number];

/** null when the setup of this folder never finished. Throws ERR_MODEL_DAMAGED when it cannot be read. */
export async function readManifest(path: string): Promise<ModelManifest | null> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw asFlashmoeError(error);
  }
  try {
    requireVersion(JSON.parse(text), 'version', 1, path);
    return parseManifest(text);
  } catch (cause) {
    if (cause instanceof FlashmoeError) throw cause;
    throw new FlashmoeError(
      'ERR_MODEL_DAMAGED',
      `${path} is damaged; the model was left as it is`,
      {
        cause,
        hint: 'run `flashmoe setup` again, it writes the manifest anew from the files',
        subject: path,
      },
    );
  }
}

/** Throws what JSON or the schema throws. */
export function parseManifest(text: string): ModelManifest {
  return manifest.parse(JSON.parse(text));
}

export async function writeManifest(path: string, content: ModelManifest): Promise<void> {
  await writeFileAtomic(path, `${JSON.stringify(content, null, 1)}\n`);
}
