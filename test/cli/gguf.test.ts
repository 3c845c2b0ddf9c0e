// A GGUF model from the command line to its answers: the built program, a hub over HTTP, real files.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdtempSync, rmSync, unlinkSync, writeFileSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { BUILD_MS, buildCli, flashmoe, mainScript } from '../helpers/built-cli.js';
import { FaultHub } from '../helpers/hub/fault-hub.js';
import { writeTinyGguf } from '../helpers/tiny-gguf.js';
import { fixture } from '../repack/fixtures.js';

vi.setConfig({ testTimeout: 120_000 });

const folder = mkdtempSync(join(tmpdir(), 'flashmoe-gguf-cli-'));
const repository = join(folder, 'repository');
const home = join(folder, 'home');
const model = join(home, 'models', 'acme--tiny-gguf--q4_1');
let hub: FaultHub;
const at = (...args: string[]) =>
  flashmoe(args, { env: { FLASHMOE_HOME: home, HF_ENDPOINT: hub.endpoint } });

beforeAll(async () => {
  await buildCli();
  await writeTinyGguf(repository);
  const other = 'qwen3moe-mixed.gguf';
  cpSync(join(fixture('gguf'), 'qwen3moe-mixed', other), join(repository, 'other-Q4_K_M.gguf'));
  hub = await FaultHub.start(repository, 'acme/tiny-GGUF');
}, BUILD_MS);
afterAll(async () => {
  await hub.close();
  rmSync(folder, { recursive: true, force: true });
});

test('plan names the files of a repository that has several, and of one its types and bytes', async () => {
  const several = await at('plan', '--repo', 'acme/tiny-GGUF');
  expect(several).toMatchObject({ status: 64 });
  expect(several.stderr).toContain('other-Q4_K_M.gguf, tiny-Q4_1.gguf');
  expect(several.stderr).toContain("--file '*Q4_K_M*'");
  const one = await at('plan', '--repo', 'acme/tiny-GGUF', '--file', '*q4_k_m*');
  expect(one).toMatchObject({ status: 0 });
  expect(one.stdout).toMatch(/experts in Q4_K, Q6_K, Q3_K, Q2_K as in the file/);
  expect(one.stdout).toMatch(/download +4,605,984 bytes.* in 1 shard/);
  expect(one.stdout).toMatch(/disk at the end +\d,\d{3},\d{3} bytes/);
});

test('setup takes the file to its known answers, and what is here answers, repairs and is told of', async () => {
  const set = await at(
    ...['setup', '--repo', 'acme/tiny-GGUF', '--file', '*Q4_1*', '--no-service', '--yes'],
  );
  expect(set, set.stderr).toMatchObject({ status: 0 });
  expect(set.stdout).toContain('experts in Q4_1 as in the file');
  const shown = await at('show', 'acme--tiny-gguf--q4_1');
  expect(shown.stdout).toMatch(/repository +acme\/tiny-GGUF/);
  expect(shown.stdout).toMatch(/file +\*Q4_1\*/);
  expect(shown.stdout).toMatch(/experts +Q4_1/);
  const again = await at('setup', 'acme--tiny-gguf--q4_1', '--no-service', '--yes');
  expect(again, again.stderr).toMatchObject({ status: 0 });

  unlinkSync(join(model, 'tokenizer.json'));
  for (const file of ['packed_experts/layer_03.bin', 'model_weights.bin']) {
    const bytes = readFileSync(join(model, file));
    bytes[1000] = (bytes[1000] ?? 0) ^ 1;
    writeFileSync(join(model, file), bytes);
  }
  expect(await at('verify', 'acme--tiny-gguf--q4_1')).toMatchObject({ status: 1 });
  const mended = await at('verify', 'acme--tiny-gguf--q4_1', '--repair');
  expect(mended, mended.stderr).toMatchObject({ status: 0 });
  expect(await at('verify', 'acme--tiny-gguf--q4_1')).toMatchObject({ status: 0 });

  const narrow = await at('requantise', 'acme--tiny-gguf--q4_1', '--quant', '2bit');
  expect(narrow).toMatchObject({ status: 64 });
  expect(narrow.stderr).toContain('blocks of a GGUF file, which stay as they are');
});

test('what is here is shared with another machine, which needs no hub for it', async () => {
  const child = spawn(process.execPath, [mainScript, 'share', '--port', '0', '--json'], {
    env: { PATH: process.env['PATH'], FLASHMOE_HOME: home },
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  try {
    const [line] = (await once(child.stdout, 'data')) as [Buffer];
    const { url } = JSON.parse(line.toString()) as { url: string };
    const elsewhere = join(folder, 'elsewhere');
    const set = await flashmoe(['setup', '--from', url, '--no-service', '--yes'], {
      env: { FLASHMOE_HOME: elsewhere, HF_ENDPOINT: 'http://127.0.0.1:1' },
    });
    expect(set, set.stderr).toMatchObject({ status: 0 });
    const copy = join(elsewhere, 'models', 'acme--tiny-gguf--q4_1');
    expect(readFileSync(join(copy, 'tokenizer.json'))).toEqual(
      readFileSync(join(model, 'tokenizer.json')),
    );
  } finally {
    const ended = once(child, 'exit');
    child.kill('SIGTERM');
    await ended;
  }
});

test('setup --from takes a file that is here, and only that of its folder is read', async () => {
  const file = join(repository, 'tiny-Q4_1.gguf');
  const set = await at('setup', '--from', file, '--no-service', '--yes');
  expect(set, set.stderr).toMatchObject({ status: 0 });
  expect(set.stdout).toContain('experts in Q4_1 as in the file');
  expect(set.stdout + set.stderr).not.toContain('other-Q4_K_M');
  const both = await at('setup', '--from', file, '--file', '*Q4*', '--yes');
  expect(both).toMatchObject({ status: 64 });
});
