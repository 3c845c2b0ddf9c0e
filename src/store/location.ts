// Where a model lies that was moved to another volume: location.json in the home's folder of the model. A plain
// pointer and no symbolic link, so that nothing is followed that `flashmoe mv` didn't write.

import { lstat, readFile } from 'node:fs/promises';
import { basename, isAbsolute, join, normalize } from 'node:path';
import { requireVersion } from '../base/format-version.js';
import * as z from 'zod';
import { syncDirectory, writeFileAtomic } from '../base/atomic-file.js';
import { FlashmoeError } from '../base/errors.js';
import { removeOwned } from '../base/owned-files.js';
import { absentVolume } from '../base/mounts.js';
import { modelPaths, modelPathsAt, type HomePaths, type ModelPaths } from '../base/paths.js';
import type { Quant } from '../models/quant.js';
import { installationId } from './model-files.js';

export const LOCATION_FILE = 'location.json';
const MAX_BYTES = 8192;

const location = z.object({
  format: z.literal('flashmoe-location'),
  version: z.literal(1),
  /** The model's folder. */
  path: z.string().refine((path) => isAbsolute(path) && normalize(path) === path),
});

/** Paths of a model wherever it lies now. Throws ERR_HOME for a pointer that can't be understood. */
export async function locatedPaths(home: HomePaths, id: string): Promise<ModelPaths> {
  const moved = await readLocation(home, id);
  return moved === null ? modelPaths(home, id) : modelPathsAt(moved);
}

export function locatedInstallation(
  home: HomePaths,
  model: string,
  quant: Quant,
): Promise<ModelPaths> {
  return locatedPaths(home, installationId(model, quant));
}

/** The folder that the pointer names; null when the model lies in the home. */
export async function readLocation(home: HomePaths, id: string): Promise<string | null> {
  const file = locationFile(home, id);
  let text: string;
  try {
    const found = await lstat(file);
    if (!found.isFile() || found.size > MAX_BYTES) throw notUnderstood(file);
    text = await readFile(file, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return null;
    throw error;
  }
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw notUnderstood(file);
  }
  requireVersion(json, 'version', 1, file);
  const parsed = location.safeParse(json);
  if (!parsed.success || basename(parsed.data.path) !== id) throw notUnderstood(file);
  return parsed.data.path;
}

export async function writeLocation(home: HomePaths, id: string, path: string): Promise<void> {
  const content = { format: 'flashmoe-location', version: 1, path };
  await writeFileAtomic(locationFile(home, id), `${JSON.stringify(content)}\n`);
}

export async function removeLocation(home: HomePaths, id: string): Promise<void> {
  const folder = modelPaths(home, id).root;
  await removeOwned({ root: folder, owns: (path) => path === LOCATION_FILE }, LOCATION_FILE);
  await syncDirectory(folder);
}

/** What has to be there again before a moved model can be used: a mount point or a folder; null when nothing is missing. */
export async function absentPlace(home: HomePaths, id: string): Promise<string | null> {
  const path = await readLocation(home, id);
  if (path === null) return null;
  const mount = await absentVolume(path);
  if (mount !== null) return mount;
  return (await lstat(path).catch(() => null))?.isDirectory() ? null : path;
}

function locationFile(home: HomePaths, id: string): string {
  return join(modelPaths(home, id).root, LOCATION_FILE);
}

function notUnderstood(file: string): FlashmoeError {
  return new FlashmoeError(
    'ERR_HOME',
    `${file} names no place of this model; it was not followed`,
    {
      hint: 'write it again with `flashmoe mv`, or remove it if the model lies beside it',
      subject: file,
    },
  );
}
