// Installs the peer and, of its many optional binaries, the one of this machine.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const { dependencies } = JSON.parse(readFileSync(join(here, 'package.json'), 'utf8'));
const platform = {
  'darwin-arm64': 'mac-arm64-metal',
  'linux-x64': 'linux-x64',
  'linux-arm64': 'linux-arm64',
};
const binary = platform[`${process.platform}-${process.arch}`];
if (binary === undefined) throw new Error(`no peer for ${process.platform} ${process.arch}`);

const name = `@node-llama-cpp/${binary}`;
if (!existsSync(join(here, 'node_modules', name))) {
  const npm = (...args) =>
    execFileSync('npm', [...args, '--ignore-scripts', '--omit=optional'], {
      cwd: here,
      stdio: 'inherit',
    });
  npm('ci');
  npm('install', '--no-save', `${name}@${dependencies['node-llama-cpp']}`);
}
