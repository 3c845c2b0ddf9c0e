// A finished model of this home and what its repository holds today.

import { join } from 'node:path';
import { FlashmoeError } from '../base/errors.js';
import { keepAwake } from '../machine/awake.js';
import { planUpdate, runUpdate, type PlannedUpdate } from '../installer/update.js';
import type { RunTask } from '../installer/setup.js';
import { fileSize } from '../store/disk-sizes.js';
import { SOURCE_MARK } from '../store/model-files.js';
import type { Receipt } from '../store/receipt.js';
import { LOCAL_OWNER } from '../transfer/folder-source.js';
import { commandLine } from './command-line.js';
import type { AppContext } from './context.js';
import { chooseInstalled } from './installed.js';
import { nativeAddon } from './native.js';
import type { Ready } from './ready-models.js';
import { lookAround, setupContext } from './setup-request.js';
import { isBundled } from './target.js';

export interface Update {
  installed: Ready;
  /** null: the revision stands for the commit that is here. */
  planned: PlannedUpdate | null;
  run: (planned: PlannedUpdate, task: RunTask) => Promise<Receipt>;
}

/** Asks the hub, changes nothing. Throws ERR_USAGE for a model that no repository of a hub stands behind. */
export async function openUpdate(
  context: AppContext,
  name: string | null,
  task: Pick<RunTask, 'emit' | 'signal'>,
): Promise<Update> {
  const installed = await chooseInstalled(context, name);
  const { id, paths, manifest } = installed;
  await requireRepository(installed);
  const nothing = (): Promise<null> => Promise.resolve(null);
  const forSetup = setupContext(context, await lookAround(context), () => false, nothing);
  const resumeCommand = commandLine(['update', id, '--yes']);
  const updating = {
    addon: nativeAddon(context),
    paths,
    manifest,
    context: forSetup,
    resumeCommand,
  };
  return {
    installed,
    planned: await planUpdate(updating, task),
    run: async (planned, run) => {
      const awake = await keepAwake(context.host, 'a model is being updated');
      try {
        return await runUpdate(updating, planned, run);
      } finally {
        awake?.release();
      }
    },
  };
}

async function requireRepository({ id, paths, manifest }: Ready): Promise<void> {
  const { repo, revision, commit } = manifest;
  const refuse = (why: string, hint: string): FlashmoeError =>
    new FlashmoeError('ERR_USAGE', `${why}; nothing was changed`, { hint, subject: id });
  if (isBundled(repo)) {
    throw refuse(`${id} comes with flashmoe itself`, 'a newer flashmoe brings a newer one');
  }
  if (repo.startsWith(`${LOCAL_OWNER}/`)) {
    throw refuse(`${id} was made of a folder here`, 'flashmoe setup --from FOLDER');
  }
  if (revision === commit) {
    throw refuse(
      `${id} was set up at the commit ${commit.slice(0, 12)}, which never moves`,
      `\`flashmoe rm ${id}\`, then set it up without --revision`,
    );
  }
  if ((await fileSize(join(paths.root, SOURCE_MARK))) === null) return;
  throw refuse(
    `${id} keeps its checkpoint beside it, and update does not renew that`,
    `\`flashmoe rm ${id}\`, then \`flashmoe setup\` with --keep-source`,
  );
}
