// Which of the finished models is meant.

import { FlashmoeError } from '../base/errors.js';
import type { HomePaths } from '../base/paths.js';
import { setupCommandFor } from '../models/catalog.js';
import type { Settings } from '../settings/schema.js';
import { listInstallations } from './installations.js';
import type { Installation } from './read-installation.js';

export type Ready = Installation & { manifest: NonNullable<Installation['manifest']> };

export async function readyInstallations(home: HomePaths): Promise<Ready[]> {
  return (await listInstallations(home)).filter(isReady);
}

export function isReady(installation: Installation): installation is Ready {
  return installation.manifest !== null;
}

/** Pure: of a name, the folder's id wins, then the model's at the width of the settings; without one, the settings decide. */
export function choose(ready: readonly Ready[], name: string | null, settings: Settings): Ready {
  const wanted = name?.toLowerCase() ?? settings.model ?? null;
  if (wanted !== null) {
    const exact = ready.find(({ id }) => id === wanted);
    const widths = ready.filter(({ manifest }) => manifest.model === wanted);
    const preferred = widths.find(({ manifest }) => manifest.quant === settings.quant);
    const [first, second] = name === null ? [preferred, exact] : [exact, preferred];
    const found = first ?? second ?? widths[0];
    if (found !== undefined) return found;
    throw new FlashmoeError('ERR_MODEL_MISSING', `${wanted} is not set up here${known(ready)}`, {
      hint: setupCommandFor(wanted),
      subject: wanted,
    });
  }
  // Whoever answers wrongly is taken by name only.
  const trusted = ready.filter(({ manifest }) => manifest.check?.verdict !== 'failed');
  const [only, another] = trusted.length > 0 ? trusted : ready;
  if (only === undefined) {
    throw new FlashmoeError('ERR_MODEL_MISSING', 'no model is set up here yet', {
      hint: 'flashmoe setup',
    });
  }
  if (another === undefined) return only;
  throw new FlashmoeError('ERR_USAGE', `several models are set up${known(ready)}`, {
    hint: `name one, for example \`--model ${only.id}\``,
  });
}

function known(ready: readonly Ready[]): string {
  return ready.length === 0 ? '' : `; here are ${ready.map(({ id }) => id).join(', ')}`;
}
