// flashmoe report [MODEL]: how the night went.

import { EXIT, FlashmoeError } from '../../base/errors.js';
import { readRecord } from '../../jobs/record/recorder.js';
import { summarise } from '../../jobs/record/summary.js';
import { reportText, type NightReport } from '../../ui/report-view.js';
import { commandLine } from '../../application/command-line.js';
import type { CliContext } from '../context.js';
import { listInstallations } from '../../application/installations.js';
import type { Installation } from '../../application/read-installation.js';
import { stateOf } from '../../application/state-of.js';
import { readSettings } from '../../settings/file.js';

export async function report(context: CliContext, name: string | null): Promise<number> {
  const found = await reportOf(await choose(context, name));
  if (context.json) context.emit('report', found);
  else context.print(reportText(found));
  return EXIT.done;
}

export async function reportOf(installation: Installation): Promise<NightReport> {
  const { id, paths, manifest, plan } = installation;
  const { state, why, next } = await stateOf(installation, null);
  const summary = summarise(await readRecord(paths.record));
  const needed = manifest?.receipt?.neededBytes ?? null;
  return {
    model: id,
    ...{ state, why, next: commandLine(next) },
    ...summary,
    wastedBytes: needed === null ? null : Math.max(0, summary.receivedBytes - needed),
    finalBytes: manifest?.finalBytes ?? null,
    contentSha256: manifest?.contentSha256 ?? null,
    doneBytes: plan?.doneBytes ?? null,
    totalBytes: plan?.downloadBytes ?? null,
  };
}

async function choose(context: CliContext, name: string | null): Promise<Installation> {
  const all = await listInstallations(context.home);
  const settings = await readSettings(context.home.settings);
  const wanted = name?.toLowerCase() ?? null;
  const [only, another] =
    wanted === null
      ? all
      : all.filter(({ id, manifest, plan }) => [id, (manifest ?? plan)?.model].includes(wanted));
  if (only !== undefined && another === undefined) return only;
  // Without a name: what is under way, else what answers.
  const usual =
    all.find(({ owner }) => owner !== null) ?? all.find(({ id }) => id === settings.model);
  if (wanted === null && usual !== undefined) return usual;
  throw only === undefined
    ? new FlashmoeError(
        'ERR_MODEL_MISSING',
        name === null
          ? 'no model is here yet, so there is nothing to report'
          : `${name} is not here`,
        {
          hint: name === null ? 'flashmoe setup' : 'flashmoe status',
        },
      )
    : new FlashmoeError('ERR_USAGE', 'several models are here', {
        hint: `name one: flashmoe report ${only.id}`,
      });
}
