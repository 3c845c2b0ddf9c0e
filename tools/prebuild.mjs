// Puts the addon that `make build` made into prebuilds/, as a release carries it, with its sha256 beside it:
// prebuilds/<platform>-<arch>/flashmoe.node and flashmoe.node.sha256. A prebuilt addon without the right hash is not loaded.
import { createHash } from 'node:crypto';
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

const root = resolve(import.meta.dirname, '..');
const folder = join(root, 'prebuilds', `${process.platform}-${process.arch}`);
const built = join(root, 'build', 'Release', 'flashmoe.node');
const addon = join(folder, 'flashmoe.node');

mkdirSync(folder, { recursive: true });
copyFileSync(built, addon);
const sha256 = createHash('sha256').update(readFileSync(addon)).digest('hex');
writeFileSync(`${addon}.sha256`, `${sha256}  flashmoe.node\n`);
console.log(`${addon}\n${sha256}`);
