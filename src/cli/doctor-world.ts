// The machine and this installation as the doctor's checks see them.

import { probeAddon } from '../addon/probe.js';
import { exec } from '../base/exec.js';
import type { DoctorWorld, ModelsOnDisk } from '../doctor/world.js';
import { portOwner } from '../server/port-owner.js';
import { DEFAULT_PORT } from '../server/serve.js';
import { detectServiceManager } from '../service-manager.js';
import { serviceOf } from './commands/service.js';
import type { CliContext } from './context.js';
import { listInstallations } from './installations.js';
import { addonPaths } from './native.js';
import { readSettings } from './settings.js';

export async function doctorWorld(context: CliContext): Promise<DoctorWorld> {
  const { host, home, version } = context;
  // A damaged settings file is for `serve` to refuse; the doctor looks at the rest all the same.
  const settings = await readSettings(home.settings).catch(() => ({ port: DEFAULT_PORT }));
  return {
    host,
    version,
    home,
    exec,
    port: settings.port ?? DEFAULT_PORT,
    portOwner,
    models: () => modelsOnDisk(context),
    addonPaths: addonPaths(context),
    probeAddon: (path, signal) => probeAddon(path, host.execPath, signal),
    serviceManager: (signal) => detectServiceManager(host, signal),
    service: serviceOf(context),
  };
}

async function modelsOnDisk({ home }: CliContext): Promise<ModelsOnDisk> {
  const models: ModelsOnDisk = { complete: [], unfinished: [], unreadable: [] };
  for (const { id, paths, manifest, problem } of await listInstallations(home)) {
    if (problem !== null) models.unreadable.push({ id, reason: problem });
    else if (manifest === null) models.unfinished.push(id);
    else models.complete.push({ id, root: paths.root, files: manifest.files });
  }
  return models;
}
