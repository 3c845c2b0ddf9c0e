import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runJob } from '../../src/addon/load.js';
import type { ChannelSquares } from '../../src/addon/types.js';
import { loadChatTemplate, type ChatTemplate } from '../../src/engine/chat-template.js';
import { loadTokenizer } from '../../src/engine/tokenizer.js';
import { parseConversations } from '../../src/eval/records.js';
import { observeTexts } from '../../src/engine/calibrate.js';
import { TINY_QUESTIONS } from '../helpers/tiny-questions.js';
import {
  calibrationBytes,
  type CalibrationRows,
  importanceOf,
  readCalibration,
} from '../../src/repack/calibration.js';
import {
  packDirectory,
  type PackedDirectory,
  planDirectory,
} from '../../src/repack/pack-directory.js';
import { packageRoot } from '../../src/base/package-root.js';
import { testAddon } from './fixtures.js';

const addon = testAddon();
const TINY = join(packageRoot, 'models', 'tiny');
const about = { repo: 'org/name', commit: 'c'.repeat(40), tokens: 100 };
const quiet = new AbortController().signal;
/** Known answers with their questions. */
const TEXTS = TINY_QUESTIONS.flatMap((question) =>
  question.kind === 'tokens' ? [[...question.prompt, ...question.expected]] : [],
);

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fm-calibration-'));
});
afterAll(() => rm(folder, { recursive: true }));

/** Two experts with four channels of input and two inner ones; the second was never chosen. */
const LAYER: ChannelSquares = {
  experts: 2,
  input: Float64Array.from([400, 100, 0, 0]),
  inner: Float64Array.from([96, 32, 0, 0]),
  tokens: Float64Array.from([32, 0]),
};

async function written(bytes: Uint8Array, name = 'c.safetensors'): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, bytes);
  return path;
}

function rowOf(bytes: Buffer, rows: CalibrationRows, name: string): number[] {
  const { offset = 0, size = 0 } = rows.tensors.get(name) ?? {};
  return Array.from({ length: size / 2 }, (_, i) => {
    const word = new Uint32Array([bytes.readUInt16LE(offset + 2 * i) << 16]);
    return new Float32Array(word.buffer)[0] ?? NaN;
  });
}

describe('a calibration', () => {
  it('has means of squares, drawn towards even ones by 32 tokens, and 1 where nothing was seen', async () => {
    const bytes = calibrationBytes(new Map([[3, LAYER]]), about);
    const rows = await readCalibration(await written(bytes));
    expect(rows).toMatchObject({ ...about, size: bytes.length });
    // 32 tokens, mean square 500 / 4 / 32; as many even ones.
    const even = 500 / 4 / 32;
    const means = [400, 100, 0, 0].map((sum) => (sum + 32 * even) / 64);
    rowOf(bytes, rows, 'layers.3.input').forEach((value, i) => {
      expect(Math.abs(value / (means[i] ?? 0) - 1)).toBeLessThan(2 ** -8);
    });
    expect(rowOf(bytes, rows, 'layers.3.inner')).toEqual([2.5, 1.5, 1, 1]);
  });

  it('gives gate and up one row for all experts, and down one for each', async () => {
    const rows = await readCalibration(
      await written(calibrationBytes(new Map([[3, LAYER]]), about)),
    );
    const of = (projection: 'gate_proj' | 'down_proj', columns: number) =>
      importanceOf(rows, { layer: 3, projection, experts: 2, columns });
    expect(of('gate_proj', 4)).toMatchObject({ source: 'calibration.safetensors', stride: 0 });
    expect(of('down_proj', 2)).toMatchObject({ stride: 4 });
    expect(() => of('down_proj', 4)).toThrow(
      /layers\.3\.inner is BF16 \[2, 2\]; .* needs \[2, 4\]/,
    );
    expect(() =>
      importanceOf(rows, { layer: 4, projection: 'gate_proj', experts: 2, columns: 4 }),
    ).toThrow(/layers\.4\.input is not there/);
  });

  const whole = calibrationBytes(new Map([[0, LAYER]]), about);
  const huge = Buffer.from(whole);
  huge.writeBigUInt64LE(2n ** 60n);
  const text = whole.toString('latin1');
  it.each([
    ['nothing', Buffer.alloc(0), /has 0 bytes/],
    ['a header that claims 2^60 bytes', huge, /is no calibration/],
    ['a file cut short', whole.subarray(0, whole.length - 4), /is no calibration/],
    [
      'another format',
      Buffer.from(text.replace('calibration-1', 'calibration-9'), 'latin1'),
      /is of format flashmoe-calibration-9/,
    ],
    [
      'a header without a repository',
      Buffer.from(text.replace('"repo"', '"ropo"'), 'latin1'),
      /does not say its repo/,
    ],
    [
      'no number of tokens',
      Buffer.from(text.replace('"100"', '"1e9"').replace('1e9', '-10'), 'latin1'),
      /no number of tokens/,
    ],
  ])('is refused for %s', async (_, bytes, said) => {
    await expect(readCalibration(await written(bytes, 'bad'))).rejects.toMatchObject({
      code: 'ERR_USAGE',
      message: expect.stringMatching(said) as string,
      subject: '--calibration',
    });
  });

  it('is refused where nothing would be weighed', async () => {
    const calibration = await written(calibrationBytes(new Map([[0, LAYER]]), about));
    const options = { addon, quant: '4bit' as const, threads: 1, calibration };
    await expect(planDirectory(TINY, options)).rejects.toMatchObject({
      code: 'ERR_USAGE',
      hint: 'add --quant 2bit, 3bit or mixed',
    });
  });
});

describe('the bundled model at two bits', { timeout: 120_000 }, () => {
  it('has at least a fifth less squared error in the logits of text that no calibration saw', async () => {
    const [seen, heldOut] = [await conversations(), TEXTS];
    const pack = (quant: '4bit' | '2bit', calibration?: string): Promise<PackedDirectory> =>
      packDirectory(TINY, join(folder, `${quant}${calibration === undefined ? '' : '-weighed'}`), {
        ...{ addon, quant, threads: 2 },
        ...(calibration === undefined ? {} : { calibration }),
      });
    const published = await pack('4bit');
    const calibration = await written(await calibrationOf(published, [seen]));
    const [plain, weighed] = [await pack('2bit'), await pack('2bit', calibration)];
    expect(weighed.plan.fingerprint).not.toBe(plain.plan.fingerprint);
    const truth = await logitsOf(published, heldOut);
    const far = distance(truth, await logitsOf(plain, heldOut));
    const near = distance(truth, await logitsOf(weighed, heldOut));
    expect(near, `${near} against ${far}`).toBeLessThan(0.8 * far);
  });

  it('computes the same while it is observed, and counts every choice of an expert', async () => {
    const packed = await packDirectory(TINY, join(folder, 'observed'), {
      addon,
      quant: '4bit',
      threads: 1,
    });
    const tokens = Int32Array.from(TEXTS[1] ?? []);
    const [plain, observed] = [await opened(packed), await opened(packed)];
    observed.observe();
    const rows = await Promise.all(
      [plain, observed].map(async (native) => {
        const session = native.createSession(tokens.length);
        await runJob(
          session.prefill(tokens, () => undefined),
          quiet,
        );
        return session.logits();
      }),
    );
    expect(rows[0]).toEqual(rows[1]);
    expect(() => plain.squares(0)).toThrow(/not observed/);
    expect(() => observed.squares(99)).toThrow(/not observed/);
    const { layers, expertsPerToken } = observed.info();
    for (let layer = 0; layer < layers; layer += 1) {
      const { tokens: chosen = new Float64Array(), input } = observed.squares(layer) ?? {};
      expect(chosen.reduce((sum, count) => sum + count, 0)).toBe(tokens.length * expertsPerToken);
      expect(input?.every((value) => value > 0)).toBe(true);
    }
    for (const native of [plain, observed]) native.close();
  });
});

/** Of the bundled prompts, the first ten of each skill, as the model reads them: none is a known answer. */
async function conversations(): Promise<number[]> {
  const template = await loadChatTemplate(TINY, await loadTokenizer(TINY));
  const prompts = join(packageRoot, 'models', 'tiny-eval');
  const ids: number[] = [];
  for (const name of (await readdir(prompts)).filter((each) => each.endsWith('.jsonl'))) {
    const records = parseConversations(name, await readFile(join(prompts, name), 'utf8'));
    for (const each of records.slice(0, 10)) {
      ids.push(...(template as ChatTemplate).prompt({ ...each, thinking: null }).ids);
    }
  }
  return ids;
}

async function calibrationOf(packed: PackedDirectory, texts: number[][]): Promise<Buffer> {
  const native = await opened(packed);
  const onProgress = (): void => undefined;
  const options = { native, texts, mostTokens: 4096, signal: quiet, onProgress };
  const { layers, tokens } = await observeTexts(options);
  native.close();
  expect(tokens).toBe(4096);
  return calibrationBytes(layers, { repo: 'local/folder', commit: 'local', tokens });
}

function opened({ modelDir, expertsDir }: PackedDirectory) {
  return runJob(
    addon.openEngine({
      ...{ modelDir, expertsDir, threads: 2, ioThreads: 1, tokenLimit: 0, expertsPerToken: 0 },
      ...{ backend: 'cpu', kernelsDir: join(packageRoot, 'metal') },
    }),
  );
}

async function logitsOf(packed: PackedDirectory, texts: number[][]): Promise<Float32Array> {
  const native = await opened(packed);
  const all: number[] = [];
  for (const text of texts) {
    const session = native.createSession(text.length);
    const { logits } = await runJob(session.evaluate(Int32Array.from(text), false), quiet);
    for (const value of logits) all.push(value);
    session.close();
  }
  native.close();
  return Float32Array.from(all);
}

/** Sum of squared differences. */
function distance(a: Float32Array, b: Float32Array): number {
  return a.reduce((sum, value, i) => sum + (value - (b[i] ?? NaN)) ** 2, 0);
}
