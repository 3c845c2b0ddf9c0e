// Makes sure that this package has an addon for this machine: the prebuilt one, when its hash is the recorded one and it
// loads; else one built from source here. Usage: node native/ensure.mjs. A formula runs it; `flashmoe setup` does the
// same for whoever installed the package otherwise.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const addon = join(root, 'prebuilds', `${process.platform}-${process.arch}`, 'flashmoe.node');

/** Why the prebuilt addon is not taken; null when it is. */
function problem() {
  if (!existsSync(addon)) return 'there is none for this machine';
  const recorded = existsSync(`${addon}.sha256`) ? readFileSync(`${addon}.sha256`, 'utf8').slice(0, 64) : 'none';
  const found = createHash('sha256').update(readFileSync(addon)).digest('hex');
  if (found !== recorded) return `its sha256 is ${found}, recorded is ${recorded}`;
  // In a child: a binary for another system may take its process along.
  const load = `require(${JSON.stringify(addon)}).selfTest()`;
  const { status, stderr } = spawnSync(process.execPath, ['-e', load], { encoding: 'utf8' });
  return status === 0 ? null : `it does not load: ${stderr.trim().split('\n').at(-1)}`;
}

const reason = problem();
if (reason === null) {
  console.log(`the prebuilt addon is used: ${addon}`);
} else {
  console.log(`the prebuilt addon is not used: ${reason}; building it from source`);
  const { status } = spawnSync(process.execPath, [join(root, 'native', 'build.mjs')], { stdio: 'inherit' });
  process.exitCode = status ?? 1;
}
