// How this copy came here, and so what brings a newer one. It says so and does nothing: the program that is replaced is the
// one that would do it.

import { existsSync } from 'node:fs';
import { join, sep } from 'node:path';
import type { AppContext } from './context.js';
import { homebrewService } from './install-service.js';

export type InstalledBy = 'homebrew' | 'npm' | 'npx' | 'project' | 'checkout';

export interface Upgrade {
  installedBy: InstalledBy;
  /** Folder of the package. */
  root: string;
  /** Commands to type, in order. */
  steps: string[];
}

/** Pure. From the package's real folder; `isCheckout`: git's folder lies in it. */
export function installedBy(root: string, isCheckout: boolean): InstalledBy {
  const parts = root.split(sep);
  if (parts.includes('Cellar')) return 'homebrew';
  if (parts.includes('_npx')) return 'npx';
  if (isCheckout || parts.at(-2) !== 'node_modules') return 'checkout';
  return parts.at(-3) === 'lib' ? 'npm' : 'project';
}

/** `service`: the definition of ours is installed. */
export function upgradeOf(
  { host }: Pick<AppContext, 'host'>,
  root: string,
  service: boolean,
): Upgrade {
  const by = installedBy(root, existsSync(join(root, '.git')));
  const folder = root.split(sep).slice(0, -2).join(sep);
  const brings: Record<InstalledBy, string[]> = {
    homebrew: ['brew upgrade flashmoe'],
    npm: ['npm install -g flashmoe@latest'],
    npx: ['npx flashmoe@latest'],
    project: [`npm install --prefix ${folder} flashmoe@latest`],
    checkout: [`git -C ${root} pull --ff-only`, `make -C ${root} build`],
  };
  const restart =
    homebrewService({ host }) !== null
      ? ['brew services restart flashmoe']
      : service
        ? ['flashmoe service restart']
        : [];
  return { installedBy: by, root, steps: [...brings[by], ...restart] };
}
