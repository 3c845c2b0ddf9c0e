// Everything known of one model of this home, ready or not.

import { FlashmoeError } from '../base/errors.js';
import { CATALOG } from '../models/catalog.js';
import { inspectSettings } from '../settings/file.js';
import { commandLine } from './command-line.js';
import type { AppContext } from './context.js';
import { listInstallations } from './installations.js';
import { choose, isReady } from './ready-models.js';
import { stateOf } from './state-of.js';

export interface ShownModel {
  id: string;
  state: string;
  why: string | null;
  next: string;
  model: string | null;
  /** For people, what it is; null for a repository that is not in the catalogue. */
  title: string | null;
  repo: string | null;
  commit: string | null;
  quant: string | null;
  /** Of a GGUF model: what chose it among the repository's files, and what its experts are stored in. */
  file: string | null;
  expertTypes: string[] | null;
  bytes: number | null;
  folder: string;
  isDefault: boolean;
  /** Files of the user's own, by option. */
  ownFiles: { option: string; path: string; sha256: string }[];
  tokensPerSecond: number | null;
  /** `9 of 9 right`; null where nobody asked. */
  check: string | null;
}

/** Facts of the folder or model of this name. ERR_MODEL_MISSING when nothing here is called so. */
export async function showModel(context: AppContext, name: string): Promise<ShownModel> {
  const wanted = name.toLowerCase();
  const all = await listInstallations(context.home);
  const found =
    all.find(({ id }) => id === wanted) ??
    all.find(({ manifest, plan }) => (manifest ?? plan)?.model === wanted);
  if (found === undefined) {
    const here = all.length === 0 ? '' : `; here are ${all.map(({ id }) => id).join(', ')}`;
    throw new FlashmoeError('ERR_MODEL_MISSING', `there is no model ${name} here${here}`, {
      hint: CATALOG.some(({ id }) => id === wanted) ? `flashmoe plan ${wanted}` : 'flashmoe status',
      subject: name,
    });
  }
  const { id, manifest, plan, paths } = found;
  const { state, why, next } = await stateOf(found, null);
  const about = manifest ?? plan;
  const { settings } = await inspectSettings(context.home.settings);
  const check = manifest?.check ?? null;
  return {
    ...{ id, state, why, next: commandLine(next) },
    model: about?.model ?? null,
    title: CATALOG.find((entry) => entry.id === about?.model)?.title ?? null,
    repo: manifest?.repo ?? null,
    commit: about?.commit ?? null,
    quant: about?.quant ?? null,
    file: manifest?.file ?? null,
    expertTypes: manifest?.expertTypes ?? null,
    bytes: manifest?.finalBytes ?? null,
    folder: paths.root,
    isDefault: isReady(found) && isDefault(all.filter(isReady), id, settings),
    ownFiles: manifest?.userFiles ?? [],
    tokensPerSecond: manifest?.receipt?.tokensPerSecond ?? null,
    check: check === null ? null : check.verdict,
  };
}

function isDefault(
  ready: Parameters<typeof choose>[0],
  id: string,
  settings: Parameters<typeof choose>[2],
): boolean {
  try {
    return choose(ready, null, settings).id === id;
  } catch {
    // Several, and none is chosen: then no model answers without a name.
    return false;
  }
}
