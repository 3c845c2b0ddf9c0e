// Builds the addon with node-gyp against the headers of the running Node, without the network where
// they are installed. Usage: node native/build.mjs [--debug]
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const prefix = resolve(dirname(process.execPath), '..');
const nodeGyp = createRequire(join(root, 'package.json')).resolve('node-gyp/bin/node-gyp.js');

const args = ['build', '--jobs', String(availableParallelism())];
if (process.argv.includes('--debug')) args.push('--debug');
const headers = existsSync(join(prefix, 'include/node/node_api.h')) ? ['--nodedir', prefix] : [];

for (const step of [['configure', ...headers], [...args, ...headers]]) {
  const { status } = spawnSync(process.execPath, [nodeGyp, ...step], { cwd: root, stdio: 'inherit' });
  if (status !== 0) process.exit(status ?? 1);
}
