// flashmoe uninstall [MODEL], flashmoe rm MODEL: shows what would go, with sizes; deletes only with --yes, only what is ours.

import { lstat } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { EXIT, FlashmoeError } from '../../base/errors.js';
import { formatBytes, formatBytesBoth } from '../../base/format.js';
import { acquireLock } from '../../base/file-lock.js';
import {
  listOwned,
  removeEmptyFolder,
  removeEmptyFolders,
  removeOwned,
} from '../../base/owned-files.js';
import { modelPaths, type HomePaths } from '../../base/paths.js';
import { ownedHome } from '../../store/home-ownership.js';
import { absentPlace, LOCATION_FILE, readLocation, removeLocation } from '../../store/location.js';
import { requireUnused } from '../../store/presence.js';
import { planRemoval, remove, type Removal } from '../../store/removal.js';
import { readStoredPlan } from '../../store/stored-plan.js';
import { updatePaths } from '../../store/update-place.js';
import type { Quant } from '../../models/quant.js';
import { SERVER_LABEL } from '../../service-command.js';
import { detectServiceManager } from '../../service-manager.js';
import type { ServiceManager } from '../../service.js';
import { tableLines } from '../../ui/table.js';
import { commandLine } from '../../application/command-line.js';
import type { CliContext } from '../context.js';
import { listInstallations } from '../../application/installations.js';
import type { Installation } from '../../application/read-installation.js';

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

interface Other {
  path: string;
  bytes: number;
  /** Relative to the home. */
  files: string[];
  /** Relative to the home: not ours, so they stay. */
  foreign: string[];
}

interface Going {
  models: { installation: Installation; removal: Removal }[];
  /** Moved to volumes that are not there now: they stay, with their pointers. */
  away: Installation[];
  /** Folders of the home, and the settings: what is ours of each. */
  others: Other[];
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
    for (const { installation } of going.models) await requireUnused(installation.paths);
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
    await removeEmptyFolder(modelPaths(context.home, installation.id).root);
  }
  const ours = ownedHome(context.home);
  await clearStaleLock(serverLock(context.home));
  for (const { path, bytes, files } of going.others) {
    for (const file of files) await removeOwned(ours, file);
    if (path !== context.home.settings) await removeEmptyFolders(path);
    freed += bytes;
  }
  if (args.model === null) {
    for (const folder of [context.home.models, context.home.home]) await removeEmptyFolder(folder);
  }
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
  // With a model goes what was made of an update of it.
  const withUpdates = installations.flatMap((each) => [
    each,
    { ...each, paths: updatePaths(each.paths), manifest: null },
  ]);
  const found = await Promise.all(
    withUpdates.map(async (installation) => {
      const { paths, manifest } = installation;
      const plan = await readStoredPlan(paths.plan);
      return { installation, removal: await planRemoval(paths, manifest, plan) };
    }),
  );
  const models = found.filter(
    ({ installation, removal: { files } }) =>
      files.length > 0 || installations.includes(installation),
  );
  if (model !== null) {
    const prompts = installations.flatMap(({ id }) => [
      join(home.prompts, id),
      join(home.prompts, `${id}.hottest`),
    ]);
    return { models, away, others: await othersOf(home, prompts), service: null };
  }
  const manager = await detectServiceManager(host, signal);
  const service = manager === null ? null : await manager.status(SERVER_LABEL, signal);
  const path = service?.installed ? service.definitionPath : null;
  return {
    models,
    away,
    others: await othersOf(home, [home.engine, home.logs, home.prompts, home.settings]),
    service: manager === null || path === null ? null : { manager, path },
  };
}

/** Those of them that exist; a link in their place is left alone. */
async function othersOf(home: HomePaths, paths: string[]): Promise<Other[]> {
  const { owned, foreign: others } = await listOwned(ownedHome(home));
  const lock = `${relative(home.home, serverLock(home))}/`;
  const foreign = others.filter((path) => !path.startsWith(lock));
  const found = await Promise.all(
    paths.map(async (path): Promise<Other[]> => {
      const status = await lstat(path).catch(() => null);
      if (!status?.isDirectory() && !status?.isFile()) return [];
      const name = relative(home.home, path);
      const isBelow = (file: string): boolean => file === name || file.startsWith(`${name}/`);
      const files = owned.filter((file) => isBelow(file.path));
      const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
      return [
        { path, bytes, files: files.map((file) => file.path), foreign: foreign.filter(isBelow) },
      ];
    }),
  );
  return found.flat();
}

function serverLock({ logs }: Pick<HomePaths, 'logs'>): string {
  return join(logs, 'server.lock');
}

/** A server that was killed leaves its lock; that of one at work stays. */
async function clearStaleLock(path: string): Promise<void> {
  if ((await lstat(path).catch(() => null)) === null) return;
  await acquireLock(path).then(
    (lock) => lock.release(),
    (error: unknown) => {
      if (!(error instanceof FlashmoeError) || error.code !== 'ERR_LOCKED') throw error;
    },
  );
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
      models: models.map(({ installation: { id }, removal: { root, files, foreign, bytes } }) => ({
        ...{ id, root, files, foreign, bytes },
      })),
      others: others.map(({ path, bytes, foreign }) => ({ path, bytes, foreign })),
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
  for (const { foreign } of others) {
    for (const path of foreign) context.print(`stays: ${join(context.home.home, path)}, not ours`);
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
