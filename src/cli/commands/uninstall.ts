// flashmoe uninstall [MODEL], flashmoe rm MODEL: shows what would go, with sizes; deletes only with --yes, only what is ours.

import { lstat, rm, rmdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { EXIT, FlashmoeError } from '../../base/errors.js';
import { formatBytes, formatBytesBoth } from '../../base/format.js';
import { modelPaths } from '../../base/paths.js';
import { bytesBelow } from '../../store/disk-usage.js';
import { absentPlace, LOCATION_FILE, readLocation, removeLocation } from '../../store/location.js';
import { planRemoval, remove, type Removal } from '../../store/removal.js';
import { readStoredPlan } from '../../store/stored-plan.js';
import type { Quant } from '../../models/quant.js';
import { SERVER_LABEL } from '../../service-command.js';
import { detectServiceManager } from '../../service-manager.js';
import type { ServiceManager } from '../../service.js';
import { tableLines } from '../../ui/table.js';
import { commandLine } from '../command-line.js';
import type { CliContext } from '../context.js';
import { requireUnused } from '../in-use.js';
import { listInstallations, type Installation } from '../installations.js';

export interface UninstallArgs {
  /** As it was typed. */
  verb: 'uninstall' | 'rm';
  /** null: everything. */
  model: string | null;
  /** null: whatever its widths are. */
  quant: Quant | null;
  dryRun: boolean;
  yes: boolean;
}

interface Going {
  models: { installation: Installation; removal: Removal }[];
  /** Moved to volumes that are not there now: they stay, with their pointers. */
  away: Installation[];
  /** Files and folders that flashmoe alone writes, whole. */
  others: { path: string; bytes: number }[];
  service: { manager: ServiceManager; path: string } | null;
}

export async function uninstall(context: CliContext, args: UninstallArgs): Promise<number> {
  const going = await whatGoes(context, args);
  report(context, going, args.dryRun);
  if (args.dryRun) return EXIT.done;
  if (!args.yes) {
    const quant = args.quant === null ? [] : ['--quant', args.quant];
    const words = [args.verb, ...(args.model === null ? [] : [args.model]), ...quant, '--yes'];
    throw new FlashmoeError('ERR_CONFIRM_NEEDED', 'nothing was deleted', {
      hint: `\`${commandLine(words)}\` deletes what is listed`,
    });
  }
  if (args.model !== null) {
    for (const { installation } of going.models) await requireUnused(context, installation.id);
  }
  let freed = 0;
  if (going.service !== null) {
    await going.service.manager.uninstall(SERVER_LABEL, context.signal);
  }
  for (const { installation, removal } of going.models) {
    freed += await remove(removal, installation.paths, context.signal);
    const pointer = await readLocation(context.home, installation.id);
    if (pointer === null) continue;
    await removeLocation(context.home, installation.id);
    await removeIfEmpty([modelPaths(context.home, installation.id).root]);
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

async function whatGoes(
  context: CliContext,
  { model, quant }: Pick<UninstallArgs, 'model' | 'quant'>,
): Promise<Going> {
  const { home, host, signal } = context;
  const meant = (await listInstallations(home)).filter(
    ({ id, manifest, plan }) =>
      (model === null || id === model || (manifest?.model ?? plan?.model) === model) &&
      (quant === null || (manifest?.quant ?? plan?.quant) === quant),
  );
  const away: Installation[] = [];
  const installations: Installation[] = [];
  for (const each of meant) {
    const absent = await absentPlace(home, each.id).catch(() => null);
    if (absent !== null && model !== null) throw notThere(each.id, absent);
    (absent === null ? installations : away).push(each);
  }
  if (model !== null && installations.length === 0) {
    throw new FlashmoeError(
      'ERR_MODEL_MISSING',
      `${model}${quant === null ? '' : ` at ${quant}`} is not here; nothing was deleted`,
      {
        hint: 'flashmoe status',
        subject: model,
      },
    );
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
    return { models, away, others: await present(prompts), service: null };
  }
  const manager = await detectServiceManager(host, signal);
  const service = manager === null ? null : await manager.status(SERVER_LABEL, signal);
  const path = service?.installed ? service.definitionPath : null;
  return {
    models,
    away,
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
  for (const { id, problem } of going.away) context.print(`stays: ${id}, ${problem ?? ''}`);
  context.print(`${formatBytesBoth(bytes)} in all`);
}

function notThere(id: string, absent: string): FlashmoeError {
  return new FlashmoeError(
    'ERR_MODEL_MISSING',
    `${absent}, where ${id} was moved to, is not there; nothing was deleted`,
    { hint: `mount it, or remove ${LOCATION_FILE} of ${id} if it is gone for good`, subject: id },
  );
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
