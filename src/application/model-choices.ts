// The catalogue as the wizard and `flashmoe models` show it: numbers of the catalogue, verdict of this machine.

import { formatBytes, formatRate } from '../base/format.js';
import { volumeOf } from '../base/volume.js';
import { CATALOG, type CatalogEntry } from '../models/catalog.js';
import { licenceWords } from '../models/catalog-entry.js';
import { OFFERED_QUANTS } from '../models/quant.js';
import { estimate, verdict, type MachineFacts } from '../models/verdict.js';
import { speedsBeside } from '../models/measured-speeds.js';
import type { ExpectedSpeed, ModelChoice, Verdict } from './setup-runner.js';
import type { AppContext } from './context.js';
import { isBundled } from './target.js';
import { readyInstallations, type Ready } from './ready-models.js';

export async function modelChoices(context: AppContext): Promise<ModelChoice[]> {
  const ready = await readyInstallations(context.home);
  const { freeBytes } = await volumeOf(context.home.models);
  const readBytesPerSecond = measuredRate(ready);
  // What can be tried at once comes first.
  const entries = [...CATALOG].sort(
    (a, b) => Number(isBundled(b.repo)) - Number(isBundled(a.repo)),
  );
  return entries.map((entry) => {
    const installed = ready
      .filter(({ manifest }) => manifest.model === entry.id && manifest.check?.verdict !== 'failed')
      .map(({ manifest }) => manifest.quant);
    const machine: MachineFacts = {
      memoryBytes: context.host.memoryBytes,
      freeBytes: installed.length > 0 ? null : freeBytes,
      readBytesPerSecond,
    };
    return choiceOf(entry, installed, machine, speedOf(entry, ready, machine));
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
  speed: ExpectedSpeed | null,
): ModelChoice {
  const { goodFor, license, contextLength } = entry;
  return {
    ...{ goodFor, license, contextLength, speed, isBundled: isBundled(entry.repo) },
    memoryBytes: estimate(entry, '4bit').memoryBytes,
    id: entry.id,
    title: entry.title,
    repo: entry.repo,
    downloadBytes: entry.downloadBytes,
    finalBytes: OFFERED_QUANTS.map((quant) => ({
      quant,
      bytes: estimate(entry, quant).finalBytes,
    })),
    verdict: bestVerdict(entry, machine),
    installed,
  };
}

/** Of a model that is here, whether the catalogue knows it or not. */
export function aboutInstalled({ manifest }: Ready): string {
  const { model, finalBytes, receipt } = manifest;
  const entry = CATALOG.find(({ id }) => id === model);
  const known =
    entry === undefined
      ? [manifest.repo]
      : [
          entry.goodFor,
          `context ${entry.contextLength.toLocaleString('en-US')} tokens`,
          licenceWords(entry.license),
          // The same at every width.
          `${formatBytes(estimate(entry, '4bit').memoryBytes)} of memory`,
        ];
  const speed = receipt?.tokensPerSecond;
  return [
    ...known,
    `${formatBytes(finalBytes)} on disk`,
    ...(speed ? [`${speed.toFixed(1)} tokens/s measured here by its check`] : []),
  ].join('; ');
}

/** What its own check measured here; else what the measured disk allows; else what somebody measured on a Mac like this one. */
function speedOf(
  entry: CatalogEntry,
  ready: readonly Ready[],
  machine: MachineFacts,
): ExpectedSpeed | null {
  const own = ready.find(({ manifest }) => manifest.model === entry.id)?.manifest.receipt;
  if (own?.tokensPerSecond) {
    const { tokensPerSecond: rate } = own;
    return { low: rate, high: rate, source: 'measured here by its check' };
  }
  const computed = verdict(entry, '4bit', machine).tokensPerSecond;
  if (computed !== null && machine.readBytesPerSecond !== null) {
    const rate = formatRate(machine.readBytesPerSecond);
    return { ...computed, source: `computed from the ${rate} of this disk` };
  }
  const [beside] = speedsBeside(entry.id, machine.memoryBytes);
  if (beside === undefined) return null;
  const { low, high, machine: mac, memoryGb, note } = beside;
  const how = note === undefined ? '' : ` with ${note}`;
  return { low, high, source: `reported for an ${mac} with ${memoryGb} GB${how}` };
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
  return choices.find(({ isBundled: comes }) => comes)?.id ?? '';
}
