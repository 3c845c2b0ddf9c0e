// flashmoe upgrade: what brings a newer version here. Changes nothing.

import { existsSync } from 'node:fs';
import { realpath } from 'node:fs/promises';
import { upgradeOf } from '../../application/upgrade.js';
import { EXIT } from '../../base/errors.js';
import { packageRoot } from '../../base/package-root.js';
import { SERVER_LABEL } from '../../service-command.js';
import { detectServiceManager } from '../../service-manager.js';
import type { CliContext } from '../context.js';

const NAMES = {
  homebrew: 'by Homebrew',
  npm: 'by npm, for the whole machine',
  npx: 'by npx, for one call',
  project: 'by npm, in a project',
  checkout: 'from a checkout',
};

export async function upgrade(context: CliContext): Promise<number> {
  const { host, signal, version } = context;
  const manager = await detectServiceManager(host, signal);
  const definition = manager?.definitionPath(SERVER_LABEL);
  const service = definition !== undefined && existsSync(definition);
  const found = upgradeOf(context, await realpath(packageRoot), service);
  if (context.json) {
    context.emit('upgrade', { version, ...found });
    return EXIT.done;
  }
  context.print(`flashmoe ${version}, installed ${NAMES[found.installedBy]}: ${found.root}`);
  context.print('');
  context.print('To have the newest version, type:');
  for (const step of found.steps) context.print(`  ${step}`);
  context.print('');
  context.print('Models, settings and half-finished setups stay as they are.');
  return EXIT.done;
}
