// flashmoe uninstall [MODEL]: shows what would go, with sizes; deletes only with --yes, only what is ours.

import { lstat, rm, rmdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { EXIT, FlashmoeError } from '../../base/errors.js';
import { formatBytes, formatBytesBoth } from '../../base/format.js';
import { bytesBelow } from '../../installer/disk-budget.js';
import { planRemoval, remove, type Removal } from '../../installer/removal.js';
import { readStoredPlan } from '../../installer/stored-plan.js';
import { SERVER_LABEL } from '../../service-command.js';
import { detectServiceManager } from '../../service-manager.js';
import type { ServiceManager } from '../../service.js';
import { tableLines } from '../../ui/table.js';
import { commandLine } from '../command-line.js';
import type { CliContext } from '../context.js';
import { listInstallations, type Installation } from '../installations.js';

export interface UninstallArgs {
  /** null: everything. */
  model: string | null;
  dryRun: boolean;
  yes: boolean;
}

interface Going {
  models: { installation: Installation; removal: Removal }[];
  /** Files and folders that flashmoe alone writes, whole. */
  others: { path: string; bytes: number }[];
  service: { manager: ServiceManager; path: string } | null;
}

export async function uninstall(context: CliContext, args: UninstallArgs): Promise<number> {
  const going = await whatGoes(context, args.model);
  report(context, going, args.dryRun);
  if (args.dryRun) return EXIT.done;
  if (!args.yes) {
    const words = ['uninstall', ...(args.model === null ? [] : [args.model]), '--yes'];
    throw new FlashmoeError('ERR_CONFIRM_NEEDED', 'nothing was deleted', {
      hint: `\`${commandLine(words)}\` deletes what is listed`,
    });
  }
  let freed = 0;
  if (going.service !== null) {
    await going.service.manager.uninstall(SERVER_LABEL, context.signal);
  }
  for (const { installation, removal } of going.models) {
    freed += await remove(removal, installation.paths, context.signal);
  }
  for (const { path, bytes } of going.others) {
    await rm(path, { recursive: true, force: true });
    freed += bytes;
  }
  if (args.model === null) await removeIfEmpty([context.home.models, context.home.home]);
  if (context.json) context.emit('uninstalled', { bytes: freed });
  else context.print(`${formatBytesBoth(freed)} freed`);
  return EXIT.done;
}

async function whatGoes(context: CliContext, model: string | null): Promise<Going> {
  const { home, host, signal } = context;
  const installations = (await listInstallations(home)).filter(
    ({ id, manifest, plan }) =>
      model === null || id === model || (manifest?.model ?? plan?.model) === model,
  );
  if (model !== null && installations.length === 0) {
    throw new FlashmoeError('ERR_MODEL_MISSING', `${model} is not here; nothing was deleted`, {
      hint: 'flashmoe status',
      subject: model,
    });
  }
  const models = await Promise.all(
    installations.map(async (installation) => {
      const { paths, manifest } = installation;
      const plan = await readStoredPlan(paths.plan);
      return { installation, removal: await planRemoval(paths, manifest, plan) };
    }),
  );
  if (model !== null) {
    const prompts = installations.map(({ id }) => join(home.prompts, id));
    return { models, others: await present(prompts), service: null };
  }
  const manager = await detectServiceManager(host, signal);
  const service = manager === null ? null : await manager.status(SERVER_LABEL, signal);
  const path = service?.installed ? service.definitionPath : null;
  return {
    models,
    others: await present([home.engine, home.logs, home.prompts, home.settings]),
    service: manager === null || path === null ? null : { manager, path },
  };
}

/** Those that exist and are what we made; a link in their place is left alone. */
async function present(paths: string[]): Promise<{ path: string; bytes: number }[]> {
  const found = await Promise.all(
    paths.map(async (path) => {
      const stat = await lstat(path).catch(() => null);
      if (stat?.isDirectory()) return [{ path, bytes: await bytesBelow(path) }];
      return stat?.isFile() ? [{ path, bytes: stat.size }] : [];
    }),
  );
  return found.flat();
}

function report(context: CliContext, going: Going, dryRun: boolean): void {
  const { models, others, service } = going;
  const bytes = [...models.map(({ removal }) => removal), ...others].reduce(
    (sum, each) => sum + each.bytes,
    0,
  );
  if (context.json) {
    context.emit('removal', {
      dryRun,
      bytes,
      models: models.map(({ installation, removal }) => ({ id: installation.id, ...removal })),
      others,
      service: service?.path ?? null,
    });
    return;
  }
  const rows = [
    ...models.map(({ removal }) => [
      formatBytes(removal.bytes),
      `${removal.files.length} files`,
      removal.root,
    ]),
    ...others.map(({ path, bytes: size }) => [formatBytes(size), '', path]),
    ...(service === null ? [] : [['', 'service', service.path]]),
  ];
  const columns = [{ title: 'SIZE', align: 'right' as const }, { title: '' }, { title: 'GOES' }];
  for (const line of tableLines(columns, rows, 200)) context.print(line);
  for (const { removal } of models) {
    for (const path of removal.foreign) context.print(`stays: ${removal.root}/${path}, not ours`);
  }
  context.print(`${formatBytesBoth(bytes)} in all`);
}

async function removeIfEmpty(folders: string[]): Promise<void> {
  for (const folder of folders) {
    await rmdir(folder).catch((error: NodeJS.ErrnoException) => {
      if (!['ENOENT', 'ENOTEMPTY', 'EEXIST', 'EBUSY'].includes(error.code ?? '')) {
        throw new FlashmoeError(
          'ERR_IO',
          `${basename(folder)} in ${dirname(folder)} is empty but could not be removed`,
          { cause: error, subject: folder },
        );
      }
    });
  }
}
