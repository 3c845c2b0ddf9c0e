import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { beforeAll, describe, expect, it } from 'vitest';

import { readMachO, type MachO } from './mach-o.js';

const run = promisify(execFile);
const here = dirname(fileURLToPath(import.meta.url));
const root = resolve(here, '..', '..');
const zig = join(root, 'build', 'zig', 'zig');

const canBuild = existsSync(zig);
if (!canBuild)
  console.log('SKIP test/mac/build.test.ts: no clang for Macs here (node tools/fetch-zig.mjs)');

/** The functions of Node-API that Node's own headers declare. */
function nodeApi(): Set<string> {
  const headers = resolve(dirname(process.execPath), '..', 'include', 'node');
  const names = ['js_native_api.h', 'node_api.h'].flatMap((file) =>
    [...readFileSync(join(headers, file), 'utf8').matchAll(/\b(napi_\w+)\(/g)].map(
      ([, name]) => name,
    ),
  );
  return new Set(names.filter((name) => name !== undefined));
}

/** What is missing from the file and belongs to none of the libraries that it names. */
function unexplained(file: MachO): string[] {
  const api = nodeApi();
  const isOfLibcxx = (name: string) =>
    /^_Z(NK?St|St|d[al]|n[aw]|T[ISTV](N?St|N10__cxxabiv1|[A-Z]*[a-z]$))|^__(cxa|gxx)_/.test(name);
  const isOfFrameworks = (name: string) => /^objc_|^OBJC_(META)?CLASS_\$_(NS|MTL)|^MTL/.test(name);
  // C's and the loader's own: lower-case words, some with leading underscores or a variant behind $.
  const isOfLibSystem = (name: string) =>
    /^_{0,3}[a-z][a-z0-9_]*(\$[A-Z_]+)?$|^_(Unwind|tlv)_\w+$|^_DefaultRuneLocale$/.test(name) &&
    !name.startsWith('napi_');
  return file.undefined.filter(
    (name) => !api.has(name) && !isOfLibcxx(name) && !isOfFrameworks(name) && !isOfLibSystem(name),
  );
}

describe.skipIf(!canBuild)('the addon, built for Apple silicon', () => {
  let file: MachO;
  // Every native source once, with warnings as errors: about three minutes of CPU.
  beforeAll(async () => {
    const { stdout } = await run(process.execPath, [join(here, 'build.mjs'), zig], {
      cwd: root,
      maxBuffer: 1 << 26,
    });
    file = readMachO(stdout.trim());
  }, 900_000);

  it('is for arm64 alone and loads on macOS 14', () => {
    expect(file).toMatchObject({
      cpu: 'arm64',
      kind: 'dynamic library',
      platform: 'macOS',
      minimum: '14.0',
    });
  });

  it('loads CoreGraphics, without which a command-line program is given no GPU, and nothing but what a Mac has', () => {
    const framework = (name: string, letter: string) =>
      `/System/Library/Frameworks/${name}.framework/Versions/${letter}/${name}`;
    expect([...file.libraries].sort()).toEqual([
      framework('CoreGraphics', 'A'),
      framework('Foundation', 'C'),
      framework('Metal', 'A'),
      '/usr/lib/libSystem.B.dylib',
      '/usr/lib/libc++.1.dylib',
      '/usr/lib/libobjc.A.dylib',
    ]);
  });

  it('gives threads that an answer waits for the class of what somebody waits for', () => {
    expect(file.undefined).toContain('pthread_set_qos_class_self_np');
  });

  it('says to Node what it registers', () => {
    expect(file.exported).toEqual(
      expect.arrayContaining(['napi_register_module_v1', 'node_api_module_get_api_version_v1']),
    );
  });

  it('misses nothing that Node, libc++, libSystem and the frameworks do not bring', () => {
    expect(file.undefined.length).toBeGreaterThan(100);
    expect(unexplained(file)).toEqual([]);
  });
});
