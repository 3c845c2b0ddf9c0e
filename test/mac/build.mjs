// Builds the addon for Apple silicon on another machine: every native source with warnings as errors, the Objective-C++
// file for Apple's ABI, and a Mach-O bundle of them all. Usage: node test/mac/build.mjs ZIG. Prints the bundle's path.
//
// ZIG is the zig program (tools/fetch-zig.mjs brings one): a clang for aarch64-macos with libc++ and Apple's libc headers.
// What it has not are Apple's frameworks: sdk/ declares what we use of them, and the loader of a Mac finds the rest.
import { execFile } from 'node:child_process';
import { createRequire } from 'node:module';
import { mkdirSync, readFileSync, readdirSync, statSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const here = dirname(fileURLToPath(import.meta.url));
const root = resolve(here, '..', '..');
const out = join(root, 'build', 'mac');
const zig = process.argv[2];
if (zig === undefined) throw new Error('usage: node test/mac/build.mjs ZIG');

const napi = createRequire(join(root, 'package.json')).resolve('node-addon-api/package.json');
const nodeHeaders = resolve(dirname(process.execPath), '..', 'include', 'node');
const includes = [join(root, 'native'), join(root, 'native/include'), dirname(napi), nodeHeaders];
// As binding.gyp says for a Mac; unoptimised, since nothing runs here.
const flags = [
  ...['-target', 'aarch64-macos.14.0', '-std=c++20', '-O0', '-fno-math-errno', '-fexceptions'],
  ...['-Wall', '-Wextra', '-Werror', '-Wno-cast-function-type', '-Wno-unused-parameter'],
  ...['-DNAPI_VERSION=9', '-DNAPI_CPP_EXCEPTIONS', ...includes.map((path) => `-I${path}`)],
];
const objectiveC = ['-Wno-unused-command-line-argument', '-x', 'objective-c++', '-fno-objc-arc'];
const standIns = [`-I${join(here, 'sdk')}`, `-I${join(root, 'test/metal/stand_in')}`];

/** A Mac's list of sources: that of this machine, and the Objective-C++ file. */
async function sources() {
  const { stdout } = await run(process.execPath, [join(root, 'native/sources.mjs')], { cwd: root });
  const metal = join('native', 'backend', 'metal');
  const more = readdirSync(join(root, metal)).filter((name) => name.endsWith('.mm'));
  return [...stdout.trim().split('\n'), ...more.map((name) => join(metal, name))];
}

/** Newest change of anything that a source may include. */
function newestHeader() {
  const below = (folder) =>
    readdirSync(folder, { recursive: true }).map((name) => join(folder, String(name)));
  return Math.max(
    ...[join(root, 'native'), here, join(root, 'test/metal/stand_in')]
      .flatMap(below)
      .filter((path) => path.endsWith('.h'))
      .map((path) => statSync(path).mtimeMs),
  );
}

const headers = newestHeader();
const objects = [];
const failures = [];

async function compile(source) {
  const object = join(out, `${source.replaceAll('/', '_')}.o`);
  objects.push(object);
  const made = statSync(object, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  if (made > Math.max(headers, statSync(join(root, source)).mtimeMs)) return;
  const language = source.endsWith('.mm') ? [...objectiveC, ...standIns] : [];
  try {
    await run(zig, ['c++', ...flags, ...language, '-c', source, '-o', object], { cwd: root });
  } catch (error) {
    failures.push(`${source}:\n${error.stderr}`);
  }
}

mkdirSync(out, { recursive: true });
const waiting = await sources();
const worker = async () => {
  for (let source = waiting.shift(); source !== undefined; source = waiting.shift())
    await compile(source);
};
await Promise.all(Array.from({ length: availableParallelism() }, worker));
if (failures.length > 0) {
  console.error(failures.join('\n'));
  process.exit(1);
}

const bundle = join(out, 'flashmoe.node');
const sdk = join(here, 'sdk');
// As binding.gyp says, so that a framework which is missing there is missing here.
const gyp = readFileSync(join(root, 'binding.gyp'), 'utf8');
const frameworks = [...gyp.matchAll(/-framework (\w+)/g)].flatMap(([, name]) => [
  '-framework',
  name,
]);
// A Mac's own libc++, not a copy of zig's in the bundle; what only the loader can find (Node-API, libc++) is left to it.
const linker = [
  '-target',
  'aarch64-macos.14.0',
  '-shared',
  '-nostdlib++',
  '-Wl,-undefined,dynamic_lookup',
];
const libraries = [
  `-F${join(sdk, 'Frameworks')}`,
  ...frameworks,
  `-L${join(sdk, 'lib')}`,
  '-lobjc',
  '-lc++.1',
];
await run(zig, ['c++', ...linker, ...libraries, '-o', bundle, ...objects.sort()], { cwd: root });
console.log(bundle);
