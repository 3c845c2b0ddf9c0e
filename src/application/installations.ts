// What lies below the home's models folder, from the disk alone.

import { readdir } from 'node:fs/promises';
import type { HomePaths } from '../base/paths.js';
import type { Installation } from './read-installation.js';

/** By id; an absent folder is an empty list. Reads names, sizes and records only. */
export async function listInstallations(home: HomePaths): Promise<Installation[]> {
  const entries = await readdir(home.models, { withFileTypes: true }).catch(
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return [];
      throw error;
    },
  );
  const ids = entries
    .filter((entry) => entry.isDirectory() && !entry.name.startsWith('.'))
    .map(({ name }) => name)
    .sort();
  if (ids.length === 0) return [];
  // What reads a folder takes a while to load: not where there is none.
  const { readInstallation } = await import('./read-installation.js');
  return Promise.all(ids.map((id) => readInstallation(home, id)));
}
