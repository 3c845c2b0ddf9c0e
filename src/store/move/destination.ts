// Whether a folder can take a model. Everything is asked before the first byte is written there.

import { constants } from 'node:fs';
import { access, lstat, readdir, readFile, realpath, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { FlashmoeError } from '../../base/errors.js';
import { formatBytes } from '../../base/format.js';
import { volumeOf } from '../../base/volume.js';
import { lacksOf } from '../../machine/file-systems.js';
import { bytesBelow, reserveFor } from '../disk-usage.js';
import { LOCATION_FILE } from '../location.js';
import { MOVING_FILE } from '../model-files.js';

export interface DestinationInput {
  folder: string;
  id: string;
  /** Where the model is now. */
  source: string;
  bytes: number;
  /** What MOVING_FILE says of this very move. */
  marker: string;
  /** As the system names it; null when it doesn't tell. */
  fileSystem: string | null;
}

export interface Destination {
  /** The model's folder there: a real path. It need not exist. */
  root: string;
  /** On the volume that the model is on now: files get a second name instead of a copy. */
  sameVolume: boolean;
}

/** Throws ERR_HOME and ERR_DISK_FULL; nothing was written then. */
export async function checkDestination(input: DestinationInput): Promise<Destination> {
  const { folder, id, source, fileSystem } = input;
  const found = await stat(folder).catch(() => null);
  if (found === null) throw refused(`${folder} is not there`, `mkdir -p '${folder}'`);
  if (!found.isDirectory()) throw refused(`${folder} is no folder`, 'name a folder');
  const lacks = fileSystem === null ? null : lacksOf(fileSystem);
  if (lacks !== null) {
    throw refused(`${folder} is on ${fileSystem ?? ''}, which ${lacks}`, 'take an APFS volume');
  }
  const real = await realpath(folder);
  await access(real, constants.W_OK | constants.X_OK).catch((cause: unknown) => {
    throw refused(`${real} can't be written to`, 'choose a folder of your own', cause);
  });
  const root = join(real, id);
  const sameVolume = (await stat(source)).dev === found.dev;
  if (root === source) return { root, sameVolume };
  const begun = await bytesBegun(root, input.marker);
  if (begun === null) {
    throw refused(`${root} is there already and is something else`, 'choose another folder');
  }
  if (!sameVolume) await requireRoom(real, input.bytes - begun);
  return { root, sameVolume };
}

/** Bytes of this very move in `root`; null when something else is there. */
async function bytesBegun(root: string, marker: string): Promise<number | null> {
  const there = await lstat(root).catch(() => null);
  if (there === null) return 0;
  if (!there.isDirectory()) return null;
  const text = await readFile(join(root, MOVING_FILE), 'utf8').catch(() => null);
  if (text === marker) return await bytesBelow(root);
  // The home's own folder of a model that was moved away holds its pointer.
  const names = (await readdir(root)).filter((name) => name !== LOCATION_FILE);
  return names.length === 0 ? 0 : null;
}

async function requireRoom(folder: string, bytes: number): Promise<void> {
  const { freeBytes } = await volumeOf(folder);
  const missing = bytes + reserveFor(bytes) - freeBytes;
  if (missing <= 0) return;
  throw new FlashmoeError(
    'ERR_DISK_FULL',
    `${folder} is too small: ${formatBytes(bytes)} and a reserve have to fit, ${formatBytes(missing)} are missing; nothing was changed`,
    { hint: 'free some space there, or take another volume', subject: folder },
  );
}

function refused(what: string, hint: string, cause?: unknown): FlashmoeError {
  return new FlashmoeError('ERR_HOME', `${what}; nothing was changed`, { hint, cause });
}
