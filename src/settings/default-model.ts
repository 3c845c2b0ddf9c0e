// Which model answers when none is named. A setup decides it only where nobody else did; `flashmoe use` always does.

import type { Quant } from '../models/quant.js';
import { changeSettings, readSettings } from './file.js';

export interface ModelAtWidth {
  model: string;
  /** undefined: any that is here. */
  quant: Quant | undefined;
}

/**
 * Makes `finished` the default where none is set, where the one that is set is not here any more, and where that one comes with
 * flashmoe for trying out and this one does not. Any other default stays. Returns the default before and after.
 */
export async function defaultAfterSetup(
  path: string,
  finished: { model: string; quant: Quant; bundled: boolean },
  isBundled: (model: string) => boolean,
  isInstalled: (wanted: ModelAtWidth) => Promise<boolean>,
): Promise<{ before: ModelAtWidth | null; now: ModelAtWidth }> {
  const { model, quant } = await readSettings(path);
  const next = { model: finished.model, quant: finished.quant };
  if (model === undefined) {
    await changeSettings(path, next);
    return { before: null, now: next };
  }
  const before = { model, quant };
  const isForTrying = isBundled(model) && !finished.bundled;
  if (!isForTrying && (await isInstalled(before))) return { before, now: before };
  await changeSettings(path, next);
  return { before, now: next };
}
