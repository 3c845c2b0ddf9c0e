// Another width of a model that is here as published: its request, from what the command was told.

import { basename } from 'node:path';
import { FlashmoeError } from '../base/errors.js';
import type { SetupRequest } from '../installer/setup-context.js';
import type { Quant } from '../models/quant.js';
import { beforePaths } from '../store/before-names.js';
import { requireGivable } from '../store/before.js';
import { requantiseArguments } from '../store/begun-as.js';
import { locatedInstallation } from '../store/location.js';
import { readManifest } from '../store/manifest.js';
import { installationId } from '../store/model-files.js';
import { readStoredPlan } from '../store/stored-plan.js';
import type { PackedModel } from '../transfer/from-model.js';
import { commandLine } from './command-line.js';
import type { AppContext } from './context.js';
import { readyInstallations } from './ready-models.js';

export interface RequantiseChoice {
  /** A name of `flashmoe status`, or of the catalogue. */
  model: string;
  quant: Quant;
  /** Most bytes of the new folder; null: as the width says. */
  size: number | null;
  calibration: string | null;
  /** The width that is here goes, layer by layer. */
  inPlace: boolean;
}

/** Throws ERR_USAGE where the model is not here as published, ERR_MODEL_MISSING where it is not here. */
export async function requantiseRequest(
  context: AppContext,
  choice: RequantiseChoice,
): Promise<SetupRequest> {
  const { quant, size, calibration, inPlace } = choice;
  if (quant === '4bit') {
    throw new FlashmoeError('ERR_USAGE', 'experts as published are not made of others', {
      hint: 'name another width with --quant',
      subject: '--quant',
    });
  }
  const madeOf = await packedModel(context, choice);
  const { manifest, paths } = madeOf;
  const { model, repo, revision } = manifest;
  const to = await locatedInstallation(context.home, model, quant);
  if (inPlace && paths.root !== beforePaths(to).root) {
    await requireGivable(paths, to);
    if ((await readManifest(to.manifest).catch(() => null)) !== null) {
      throw new FlashmoeError('ERR_USAGE', `${basename(to.root)} is here already`, {
        hint: `\`flashmoe rm ${installationId(model, '4bit')}\` takes the other width away`,
        subject: '--in-place',
      });
    }
  }
  const template = manifest.userFiles?.some(({ option }) => option === '--chat-template') === true;
  return {
    ...{ model, repo, revision, quant, size, calibration, madeOf },
    ...{ bundled: null, from: null, questions: [], bytesPerSecond: null },
    chatTemplate: template ? `${paths.root}/chat_template.jinja` : null,
    resumeCommand: commandLine(requantiseArguments({ model, quant, inPlace })),
  };
}

/** In its own folder, or in that of the width which has begun to take its place. */
async function packedModel(
  context: AppContext,
  { model: name, quant, inPlace }: RequantiseChoice,
): Promise<PackedModel> {
  const wanted = name.toLowerCase();
  const ready = await readyInstallations(context.home);
  const found = ready.find(
    ({ id, manifest }) => manifest.quant === '4bit' && (id === wanted || manifest.model === wanted),
  );
  const paths = found?.paths ?? beforePaths(await locatedInstallation(context.home, wanted, quant));
  const manifest = found?.manifest ?? (await readManifest(paths.manifest).catch(() => null));
  if (manifest === null) throw await notHere(context, wanted);
  if (found === undefined && !inPlace) {
    throw new FlashmoeError('ERR_USAGE', `${wanted} was given up for ${quant} already`, {
      hint: `\`${commandLine(requantiseArguments({ model: wanted, quant, inPlace: true }))}\` goes on`,
      subject: '--in-place',
    });
  }
  const stored = await readStoredPlan(paths.plan);
  if (stored?.pack.fingerprint !== manifest.fingerprint) {
    throw new FlashmoeError('ERR_PLAN', `${paths.plan} is lost; nothing was changed`, {
      hint: `\`flashmoe verify ${wanted} --repair\` makes it again`,
      subject: paths.plan,
    });
  }
  return { paths, manifest, stored, inPlace };
}

async function notHere(context: AppContext, wanted: string): Promise<FlashmoeError> {
  const other = (await readyInstallations(context.home)).find(
    ({ id, manifest }) => id === wanted || manifest.model === wanted,
  );
  if (other === undefined) {
    return new FlashmoeError('ERR_MODEL_MISSING', `${wanted} is not set up here`, {
      hint: '`flashmoe status` shows what is',
      subject: wanted,
    });
  }
  const { id, manifest } = other;
  return new FlashmoeError(
    'ERR_USAGE',
    `${id} is at ${manifest.quant}; another width is made of the model as published`,
    { hint: `\`flashmoe setup ${manifest.model}\` brings that`, subject: wanted },
  );
}
