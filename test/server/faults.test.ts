// A disk that fails under a server: what a request is told, and that the next one is answered as ever.

import { spawnSync } from 'node:child_process';
import { readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { packed, type Packed } from '../engine/packed.js';
import { start, type Program } from '../helpers/child.js';

vi.setConfig({ testTimeout: 60_000, hookTimeout: 120_000 });

const SHIM = fileURLToPath(new URL('./programs/faulty-reads.c', import.meta.url));
const PROGRAM = new URL('./programs/serve-packed.ts', import.meta.url);

/** Why the disk can't be made to fail here; null when it can. */
function obstacle(): string | null {
  if (process.platform !== 'linux') return 'LD_PRELOAD and /proc are Linux’s';
  return spawnSync('cc', ['--version']).status === 0 ? null : 'there is no cc';
}
const reason = obstacle();
if (reason !== null) console.log(`SKIP a disk that fails under a server: ${reason}`);

const ASKED = {
  messages: [{ role: 'user', content: 'Weather in Paris?' }],
  max_tokens: 8,
  seed: 3,
  enable_thinking: false,
};

describe.skipIf(reason !== null)('a server whose disk fails', () => {
  let model: Packed;
  let server: Program;
  let url = '';
  let control = '';
  let expected: unknown;

  beforeAll(async () => {
    model = await packed('qwen3_5_moe');
    control = join(model.dir, 'fault');
    const library = join(model.dir, 'faulty-reads.so');
    const built = spawnSync('cc', ['-shared', '-fPIC', '-O1', '-o', library, SHIM, '-ldl']);
    if (built.status !== 0) throw new Error(built.stderr.toString());
    const places = [join(model.dir, 'model'), join(model.dir, 'model', 'packed_experts')];
    server = start(PROGRAM, places, { LD_PRELOAD: library, FLASHMOE_FAULT: control });
    url = await server.line();
    expected = (await ask()).said;
  });
  afterAll(async () => {
    server.process.stdin?.end();
    await server.ended;
    await rm(model.dir, { recursive: true });
  });

  async function ask(stream = false): Promise<{ status: number; said: unknown; text: string }> {
    const response = await fetch(`${url}/v1/chat/completions`, {
      method: 'POST',
      body: JSON.stringify({ ...ASKED, stream }),
    });
    const text = await response.text();
    const said = stream ? null : (JSON.parse(text) as { choices?: unknown }).choices;
    return { status: response.status, said, text };
  }

  it.each([
    ['e', 'Input/output error'],
    ['g', 'No such device or address'],
    ['z', 'fell short'],
  ])('names the file, says %s as it is, and answers again', async (fault, words) => {
    await writeFile(control, fault);
    // Another beginning, so that something is read.
    const failed = await ask();
    expect(failed.status).toBe(500);
    expect(failed.text).toMatch(/layer_\d+\.bin: expert \d+/);
    expect(failed.text).toContain(words);
    expect(failed.text).toContain('"code":"ERR_IO"');

    const streamed = await ask(true);
    expect(streamed.text).toContain('ERR_IO');
    expect(streamed.text).not.toMatch(/"content":"[^"]/);

    await writeFile(control, '-');
    const after = await ask();
    expect(after).toMatchObject({ status: 200, said: expected });
    expect(server.process.exitCode).toBe(null);
  });

  it.each([
    ['short', 's'],
    ['interrupted', 'i'],
  ])('reads on where reads are %s, and says the same', async (_, fault) => {
    await writeFile(control, fault);
    expect(await ask()).toMatchObject({ status: 200, said: expected });
    await writeFile(control, '-');
  });

  it('lives on when its dense file is cut short, and invents nothing', async () => {
    const path = join(model.dir, 'model', 'model_weights.bin');
    const bytes = await readFile(path);
    await truncate(path, 5000);
    for (let again = 0; again < 2; again++) {
      const failed = await ask();
      expect(failed.status).toBe(500);
      expect(failed.text).toContain('model_weights.bin');
      expect(failed.text).toContain('"code":"ERR_IO"');
    }
    expect((await fetch(`${url}/v1/models`)).status).toBe(200);
    await writeFile(path, bytes);
  });
});
