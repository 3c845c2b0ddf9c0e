// flashmoe quality [MODEL]: how far the requantised weights are from those that were published.

import { EXIT } from '../../base/errors.js';
import { readJournal } from '../../store/journal.js';
import { overall, qualityOf } from '../../store/requantisation.js';
import { reduceJournal } from '../../store/state.js';
import { readStoredPlan } from '../../store/stored-plan.js';
import { qualityText, type ModelQuality } from '../../ui/quality-view.js';
import type { CliContext } from '../context.js';
import { chooseInstalled } from '../../application/installed.js';
import type { Ready } from '../../application/ready-models.js';

export async function quality(context: CliContext, name: string | null): Promise<number> {
  const found = await qualityOfModel(await chooseInstalled(context, name));
  if (context.json) context.emit('quality', found);
  else context.print(qualityText(found));
  return EXIT.done;
}

async function qualityOfModel({ id, paths, manifest }: Ready): Promise<ModelQuality> {
  const stored = await readStoredPlan(paths.plan);
  const read = await readJournal(paths.journal);
  const { errors } = reduceJournal(read?.entries ?? []);
  const sums = [...errors.values()];
  return {
    model: id,
    quant: manifest.quant,
    overall: overall(sums),
    calibrationTokens: stored?.pack.calibration?.tokens ?? null,
    projections: stored === null ? [] : qualityOf(stored.pack, sums),
  };
}
