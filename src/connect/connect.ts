// A client's file changed so that it finds our server: read, merge, back up, replace. Nothing is written when
// nothing changes, nor when the file can't be kept as the user wrote it.

import { copyFile, mkdir, readFile, realpath, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { writeFileAtomic } from '../base/atomic-file.js';
import type { Client, OwnFile, Places, ServerFacts } from './client.js';
import { merged, snippet } from './merge.js';

export interface ConnectPlan {
  /** Null for a client without a file. */
  path: string | null;
  /** What we set, for people and for `--dry-run`. */
  snippet: string;
  /** The whole file as it will be; null when it is so already. */
  text: string | null;
  isNew: boolean;
  mode: number;
  /** Files of ours that are to be written, too. */
  ownFiles: { path: string; text: string }[];
}

/** Changes nothing. ERR_CLIENT_CONFIG for a file that can't be kept. */
export async function planConnection(
  client: Client,
  server: ServerFacts,
  places: Places,
): Promise<ConnectPlan> {
  const settings = client.settings(server);
  const { file } = client;
  if (file === null) {
    return { ...NOTHING, snippet: snippet('json', settings) };
  }
  const path = await existing(file.paths(places));
  const before = await textOf(path);
  const text = merged(file.format, before, settings, path);
  return {
    path,
    snippet: snippet(file.format, settings),
    text: text === before ? null : text,
    isNew: before === null,
    mode: before === null ? 0o600 : (await stat(path)).mode & 0o777,
    ownFiles: await changedFiles(dirname(path), client.ownFiles?.(server) ?? []),
  };
}

async function changedFiles(
  folder: string,
  files: readonly OwnFile[],
): Promise<ConnectPlan['ownFiles']> {
  const all = files.map(({ name, text }) => ({ path: join(folder, name), text }));
  const before = await Promise.all(all.map(({ path }) => textOf(path)));
  return all.filter(({ text }, i) => text !== before[i]);
}

const NOTHING = { path: null, text: null, isNew: false, mode: 0o600, ownFiles: [] };

/**
 * @param stamp of the backup's name
 * @returns where the file's former text is; null when there was none, or nothing changed
 */
export async function writeConnection(plan: ConnectPlan, stamp: string): Promise<string | null> {
  const { path, text, isNew, mode, ownFiles } = plan;
  if (path === null) return null;
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  // First, because the other one names them.
  for (const own of ownFiles) await writeFileAtomic(own.path, own.text, 0o600);
  if (text === null) return null;
  if (isNew) {
    await writeFileAtomic(path, text, mode);
    return null;
  }
  const backup = `${path}.before-flashmoe-${stamp}`;
  await copyFile(path, backup);
  await writeFileAtomic(path, text, mode);
  return backup;
}

/** The first that is there, links followed: a link into a folder of settings stays one. */
async function existing(paths: readonly string[]): Promise<string> {
  for (const path of paths) {
    const real = await realpath(path).catch(() => null);
    if (real !== null) return real;
  }
  return paths[0] ?? '';
}

async function textOf(path: string): Promise<string | null> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}
