// The catalogue as the wizard and `flashmoe models` show it: numbers of the catalogue, verdict of this machine.

import { volumeOf } from '../base/volume.js';
import { CATALOG, type CatalogEntry } from '../models/catalog.js';
import { QUANTS } from '../models/quant.js';
import { estimate, verdict, type MachineFacts } from '../models/verdict.js';
import type { ModelChoice, Verdict } from './setup-runner.js';
import type { AppContext } from './context.js';
import { readyInstallations, type Ready } from './ready-models.js';

export async function modelChoices(context: AppContext): Promise<ModelChoice[]> {
  const ready = await readyInstallations(context.home);
  const { freeBytes } = await volumeOf(context.home.models);
  const readBytesPerSecond = measuredRate(ready);
  return CATALOG.map((entry) => {
    const installed = ready
      .filter(({ manifest }) => manifest.model === entry.id && manifest.check?.verdict !== 'failed')
      .map(({ manifest }) => manifest.quant);
    const machine: MachineFacts = {
      memoryBytes: context.host.memoryBytes,
      freeBytes: installed.length > 0 ? null : freeBytes,
      readBytesPerSecond,
    };
    return choiceOf(entry, installed, machine);
  });
}

/** Of the latest setup that measured its disk. Before one, an estimate from a guessed disk would be a guess. */
function measuredRate(ready: readonly Ready[]): number | null {
  const receipts = ready.flatMap(({ manifest }) => manifest.receipt ?? []);
  const measured = receipts.filter(
    ({ diskBytesPerSecond }) => typeof diskBytesPerSecond === 'number',
  );
  const latest = measured.sort((a, b) => b.finishedAt.localeCompare(a.finishedAt))[0];
  return latest?.diskBytesPerSecond ?? null;
}

function choiceOf(
  entry: CatalogEntry,
  installed: ModelChoice['installed'],
  machine: MachineFacts,
): ModelChoice {
  return {
    id: entry.id,
    title: entry.title,
    repo: entry.repo,
    downloadBytes: entry.downloadBytes,
    finalBytes: QUANTS.map((quant) => ({ quant, bytes: estimate(entry, quant).finalBytes })),
    verdict: bestVerdict(entry, machine),
    installed,
  };
}

/** Of 4 bits, or of 2 bits where only those fit. */
function bestVerdict(entry: CatalogEntry, machine: MachineFacts): Verdict {
  const four = verdict(entry, '4bit', machine);
  const two = verdict(entry, '2bit', machine);
  return four.level === 'no' && two.level !== 'no'
    ? { level: two.level, text: `at 2 bits only: ${two.text}` }
    : { level: four.level, text: four.text };
}

/** What to try first here: the largest that runs well, else what runs, else what is bundled. */
export async function recommend(context: AppContext): Promise<string> {
  const choices = await modelChoices(context);
  for (const level of ['good', 'slow', 'small'] as const) {
    const [best] = choices
      .filter(({ verdict: { level: found } }) => found === level)
      .sort((a, b) => (b.downloadBytes ?? 0) - (a.downloadBytes ?? 0));
    if (best !== undefined) return best.id;
  }
  return choices.at(-1)?.id ?? '';
}
