import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { packFixture, readGolden, readTensors, relativeDifference } from '../addon/golden.js';
import { BUILD_MS, buildCli, flashmoe, mainScript } from '../helpers/built-cli.js';
import { FAMILIES, fixture, testAddon } from '../repack/fixtures.js';

vi.setConfig({ testTimeout: 120_000 });

/** Of the logits' spread. */
const TOLERANCE = 5e-4;

let folder = '';
/** Where the command may put what is temporary. */
let temporary = '';
beforeAll(async () => {
  await buildCli();
  folder = await mkdtemp(join(tmpdir(), 'flashmoe-logits-test-'));
  temporary = join(folder, 'tmp');
  await mkdir(temporary);
}, BUILD_MS);
afterAll(() => rm(folder, { recursive: true }));

const environment = () => ({ TMPDIR: temporary, FLASHMOE_HOME: join(folder, 'home') });
const logits = (args: string[]) => flashmoe(['logits', ...args], { env: environment() });

async function tokensFile(name: string, content: unknown): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, JSON.stringify(content));
  return path;
}

describe.each(FAMILIES)('logits of a folder in MLX layout (%s)', (family) => {
  test('are those of the reference, with all experts and with fewer, and leave no store behind', async () => {
    const golden = await readGolden(family);
    const fewer = [...golden.tensors.keys()].find((name) => /^logits_k\d+$/.test(name)) ?? '';
    const tokens = await tokensFile(`${family}.json`, [...golden.prompt]);
    for (const [name, more] of [
      ['logits', []],
      [fewer, ['--experts', fewer.slice('logits_k'.length)]],
    ] as const) {
      const out = join(folder, `${family}.${name}.safetensors`);
      const args = [fixture(family), '--tokens', tokens, '--out', out, ...more];
      const { status, stdout, stderr } = await logits(args);
      expect({ status, stdout }, stderr).toEqual({ status: 0, stdout: `${out}\n` });
      const written = await readTensors(out);
      expect([...written.keys()]).toEqual(['logits']);
      const found = written.get('logits');
      const reference = golden.tensors.get(name);
      if (!found || !reference) throw new Error(`no ${name}`);
      expect(found.shape).toEqual([golden.prompt.length, 512]);
      expect(relativeDifference(found.values, reference)).toBeLessThan(TOLERANCE);
    }
    expect(await readdir(temporary)).toEqual([]);
  });
});

describe('logits', () => {
  const family = 'qwen3_5_moe';

  test('at two bits are of requantised experts, and the file says what it is of', async () => {
    const golden = await readGolden(family);
    const tokens = await tokensFile('object.json', { input_ids: [[...golden.prompt]] });
    const out = join(folder, 'q2.safetensors');
    const args = [fixture(family), '--tokens', tokens, '--out', out, '--quant', 'q2', '--json'];
    const { status, stdout } = await logits(args);
    expect(status).toBe(0);
    const line = JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '') as Record<string, unknown>;
    const shape = [golden.prompt.length, 512];
    expect(line).toMatchObject({ event: 'logits', file: out, shape, quant: '2bit' });
    const written = (await readTensors(out)).get('logits');
    const difference = relativeDifference(
      written?.values ?? new Float32Array(),
      golden.tensors.get('logits') ?? new Float32Array(),
    );
    expect(difference).toBeGreaterThan(0.01);
    const header = (await readFile(out)).toString('utf8', 8, 600);
    expect(header).toContain('"quant":"2bit"');
  });

  test('of more tokens than fit in one piece are those of one sequence', async () => {
    // A vocabulary of 512 rows: 65,536 positions would be one piece, so the pieces are those of prefill.
    const golden = await readGolden(family);
    const start = [...golden.prompt];
    const longer = [...start, ...Array.from({ length: 1100 }, (_, i) => (i * 31) % 490)];
    const tokens = await tokensFile('long.json', longer);
    const out = join(folder, 'long.safetensors');
    expect((await logits([fixture(family), '--tokens', tokens, '--out', out])).status).toBe(0);
    const written = (await readTensors(out)).get('logits');
    expect(written?.shape).toEqual([longer.length, 512]);
    const first = written?.values.slice(0, start.length * 512) ?? new Float32Array();
    const reference = golden.tensors.get('logits') ?? new Float32Array();
    expect(relativeDifference(first, reference)).toBeLessThan(TOLERANCE);

    // The same sequence cut where prefill doesn't cut it: behind its first piece, too, not a bit differs.
    const packed = await packFixture(testAddon(), family, join(folder, 'long'));
    const engine = await testAddon().openEngine(packed).done;
    const session = engine.createSession(longer.length);
    for (let at = 0; at < longer.length; at += 300) {
      const piece = Int32Array.from(longer.slice(at, at + 300));
      const { logits: expected } = await session.evaluate(piece, false).done;
      const values = written?.values.slice(at * 512, (at + piece.length) * 512);
      expect(values?.length).toBe(expected.length);
      expect(values?.every((value, i) => value === expected[i])).toBe(true);
    }
    session.close();
    engine.close();
  });

  test.each([
    ['not JSON', '{', /not JSON/],
    ['no ids', '{"ids": [1]}', /not an array of token ids/],
    ['no tokens', '[]', /there are no tokens/],
    ['an id that is no token', '[1, 512]', /512 is no token id; ids go from 0 to 511/],
    ['a fraction', '[1.5]', /1.5 is no token id/],
  ])('of a token file with %s are refused with 64', async (_, content, message) => {
    const tokens = join(folder, 'wrong.json');
    await writeFile(tokens, content);
    const out = join(folder, 'never.safetensors');
    const { status, stderr } = await logits([fixture(family), '--tokens', tokens, '--out', out]);
    expect(status).toBe(64);
    expect(stderr).toMatch(message);
    expect(await readdir(folder)).not.toContain('never.safetensors');
  });

  test('that have nowhere to come from or to go to are refused before any work', async () => {
    const tokens = await tokensFile('few.json', [1, 2]);
    const out = join(folder, 'nowhere', 'x.safetensors');
    const lost = await logits([fixture(family), '--tokens', tokens, '--out', out]);
    expect(lost).toMatchObject({ status: 64 });
    expect(lost.stderr).toContain('there is no such folder to write to');
    const target = join(folder, 'x.safetensors');
    const none = await logits(['./nowhere', '--tokens', tokens, '--out', target]);
    expect(none.stderr).toContain('./nowhere: there is no such folder');
    const name = await logits(['nothing', '--tokens', tokens, '--out', target]);
    expect(name.stderr).toContain('nothing is not set up here');
  });

  test('that are interrupted leave neither a store nor half a file', async () => {
    const many = Array.from({ length: 4000 }, (_, i) => (i * 7) % 490);
    const tokens = await tokensFile('many.json', many);
    const out = join(folder, 'interrupted.safetensors');
    const args = [mainScript, 'logits', fixture(family), '--tokens', tokens, '--out', out];
    const child = spawn(process.execPath, args, { env: { ...process.env, ...environment() } });
    let errors = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => (errors += text));
    const ended = once(child, 'close');
    // The store is there: packing or computing is under way.
    await vi.waitFor(async () => expect(await readdir(temporary)).toHaveLength(1), 60_000);
    child.kill('SIGINT');
    const [status] = (await ended) as [number];
    expect(status, errors).toBe(130);
    expect(await readdir(temporary)).toEqual([]);
    expect((await readdir(folder)).filter((name) => name.startsWith('interrupted'))).toEqual([]);
  });
});
