import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CONTRACT } from '../../src/addon/contract.js';
import { probeAddon } from '../../src/addon/probe.js';
import { currentHost } from '../../src/base/host.js';
import type { InstallEvent } from '../../src/jobs/events.js';
import { ensureEngine, type EngineTask } from '../../src/installer/steps/engine.js';

let folder: string;
let events: InstallEvent[];
const signal = new AbortController().signal;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fm-engine-'));
  events = [];
});
afterEach(() => rm(folder, { recursive: true }));

/** A package as small as one can be that still is an addon of this contract. */
async function smallPackage(selfTestOk: boolean): Promise<string> {
  const root = join(folder, 'package');
  await mkdir(join(root, 'native', 'test'), { recursive: true });
  await writeFile(
    join(root, 'binding.gyp'),
    `{"targets": [{"target_name": "flashmoe", "sources": ["native/addon.cpp"],
      "include_dirs": ["<!(node -p \\"require('node-addon-api').include_dir\\")"],
      "defines": ["NAPI_DISABLE_CPP_EXCEPTIONS"]}]}`,
  );
  await writeFile(join(root, 'native', 'test', 'big.bin'), 'not needed');
  await writeFile(
    join(root, 'native', 'addon.cpp'),
    `#include <napi.h>
    Napi::Value self_test(const Napi::CallbackInfo &info) {
      auto result = Napi::Object::New(info.Env());
      auto check = Napi::Object::New(info.Env());
      check.Set("name", "matvec_q4");
      check.Set("ok", ${selfTestOk});
      auto checks = Napi::Array::New(info.Env(), 1);
      checks.Set(0u, check);
      result.Set("ok", ${selfTestOk});
      result.Set("isa", "scalar");
      result.Set("checks", checks);
      return result;
    }
    Napi::Object init(Napi::Env env, Napi::Object exports) {
      exports.Set("contract", ${CONTRACT});
      exports.Set("selfTest", Napi::Function::New(env, self_test));
      return exports;
    }
    NODE_API_MODULE(flashmoe, init)`,
  );
  return root;
}

function task(sources: string, env: Record<string, string> = {}): EngineTask {
  const engineDir = join(folder, 'home', 'engine');
  const host = currentHost();
  return {
    emit: (event) => events.push(event),
    signal,
    engineDir,
    sources,
    host: { ...host, env: { ...host.env, ...env } },
  };
}

const builds = () =>
  events.flatMap((event) => (event.type === 'build' ? [`${event.task} ${event.status}`] : []));
const notices = () => events.flatMap((event) => (event.type === 'notice' ? [event.message] : []));

// Two real builds: seconds on an idle machine, many more on a busy one.
describe('the engine step', { timeout: 120_000 }, () => {
  it('builds where there is nothing, keeps the log, and finds its work the next time', async () => {
    const sources = await smallPackage(true);
    const path = await ensureEngine(task(sources));
    expect(builds().filter((line, index, all) => line !== all[index - 1])).toEqual(
      ['toolchain', 'configure', 'compile', 'self-test'].flatMap((name) => [
        `${name} started`,
        `${name} done`,
      ]),
    );
    expect(events.at(-1)).toMatchObject({ step: 'engine', status: 'done', detail: /scalar/ });
    expect(await readFile(join(folder, 'home', 'engine', 'build.log'), 'utf8')).toContain(
      'gyp info ok',
    );
    expect((await readdir(join(folder, 'home', 'engine'))).sort()).toEqual([
      'build.json',
      'build.log',
      'flashmoe.node',
    ]);

    events = [];
    expect(await ensureEngine(task(sources))).toBe(path);
    expect(events.at(-1)).toMatchObject({ step: 'engine', status: 'skipped' });

    // Other sources, as after an upgrade, and these do not compile.
    events = [];
    await writeFile(join(sources, 'native', 'addon.cpp'), 'int main() { return nonsense; }');
    const error = await ensureEngine(task(sources)).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({
      code: 'ERR_ENGINE',
      message: expect.stringMatching(/nonsense.*build\.log/) as string,
    });
    expect(notices()).toEqual([expect.stringContaining('built from other sources')]);
    await expect(stat(path)).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it('refuses a build whose kernels compute wrong values', async () => {
    await expect(ensureEngine(task(await smallPackage(false)))).rejects.toMatchObject({
      code: 'ERR_ENGINE',
      message: expect.stringContaining('matvec_q4') as string,
    });
    expect(builds().at(-1)).toBe('self-test failed');
  });

  it('names what is missing before it compiles anything', async () => {
    const sources = await smallPackage(true);
    await expect(ensureEngine(task(sources, { CXX: 'no-such-compiler' }))).rejects.toMatchObject({
      code: 'ERR_TOOLCHAIN',
      message: expect.stringContaining('no-such-compiler is missing') as string,
      hint: expect.stringContaining('install') as string,
    });
    expect(builds()).toEqual(['toolchain started', 'toolchain failed']);
  });

  it('outlives a binary that crashes when it is loaded, and says so', async () => {
    const crash = join(folder, 'crash.node');
    const source = '__attribute__((constructor)) void die() { __builtin_trap(); }';
    execFileSync('c++', ['-shared', '-fPIC', '-x', 'c++', '-', '-o', crash], { input: source });
    const probe = await probeAddon(crash, process.execPath, signal);
    expect(probe).toMatchObject({
      ok: false,
      reason: expect.stringMatching(/crashed with SIG/) as string,
    });

    await writeFile(join(folder, 'text.node'), 'no binary');
    expect(await probeAddon(join(folder, 'text.node'), process.execPath, signal)).toMatchObject({
      ok: false,
      reason: expect.stringContaining('does not load') as string,
    });
    await expect(ensureEngine(task(folder, { FLASHMOE_ADDON: crash }))).rejects.toMatchObject({
      code: 'ERR_ENGINE',
      message: expect.stringContaining(crash) as string,
    });
  });
});
