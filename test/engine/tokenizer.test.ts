import { readFileSync } from 'node:fs';
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ControlText } from '../../src/engine/control-text.js';
import { Detokenizer } from '../../src/engine/detokenizer.js';
import { loadTokenizer } from '../../src/engine/tokenizer.js';
import { declaredIds, fixture, WITH_TOKENIZER } from './fixtures.js';

interface Golden {
  cases: { text: string; ids: number[]; decoded?: string }[];
}

function golden(family: string): Golden {
  return JSON.parse(readFileSync(join(fixture(family), 'golden_tokenizer.json'), 'utf8')) as Golden;
}

describe.each(WITH_TOKENIZER)('%s', (family) => {
  it('gives the reference ids for every golden text', async () => {
    const tokenizer = await loadTokenizer(fixture(family));
    const control = new ControlText(tokenizer, '');
    const { cases } = golden(family);
    expect(cases.length).toBeGreaterThan(15);
    for (const { text, ids } of cases) {
      expect(control.encode(text, '\ue000'), text).toEqual(declaredIds(ids));
    }
  });

  it('gives every golden text back, one id at a time', async () => {
    const tokenizer = await loadTokenizer(fixture(family));
    const shown = tokenizer.controlTokens.map((token) => token.content);
    for (const { text, ids, decoded } of golden(family).cases) {
      const detokenizer = new Detokenizer(tokenizer, shown);
      const pieces = declaredIds(ids).map((id) => detokenizer.push(id));
      // Without a decoded text in the golden the tokenizer doesn't normalise: text is text.
      expect(pieces.join('')).toBe(decoded ?? text);
      // Half a surrogate pair doesn't survive the way through bytes.
      for (const piece of pieces) expect(Buffer.from(piece).toString()).toBe(piece);
    }
  });

  it('knows where padding rows begin', async () => {
    const tokenizer = await loadTokenizer(fixture(family));
    expect(tokenizer.tokenLimit).toBe(500);
    expect(tokenizer.bytes(485)).toEqual(new Uint8Array());
    expect(tokenizer.bytes(511)).toEqual(new Uint8Array());
  });

  it('gives no control token for any text, and the same text back', async () => {
    const tokenizer = await loadTokenizer(fixture(family));
    const control = new Set(tokenizer.controlTokens.map((token) => token.id));
    const words = tokenizer.controlTokens.map((token) => token.content);
    const hostile = fc.array(fc.oneof(fc.constantFrom(...words), fc.string({ unit: 'grapheme' })));
    fc.assert(
      fc.property(hostile, (parts) => {
        const text = parts.join('').normalize('NFC');
        const ids = tokenizer.encodeText(text);
        expect(ids.filter((id) => control.has(id))).toEqual([]);
        const detokenizer = new Detokenizer(tokenizer);
        expect(ids.map((id) => detokenizer.push(id)).join('')).toBe(text);
      }),
      { numRuns: 150 },
    );
  });
});

describe('a detokenizer', () => {
  it('holds a character back until its last byte, however its tokens are cut', async () => {
    const tokenizer = await loadTokenizer(fixture('qwen3_5_moe'));
    const detokenizer = new Detokenizer(tokenizer);
    const pieces = tokenizer.encodeText('a🚀b').map((id) => detokenizer.push(id));
    expect(pieces).toEqual(['a', '', '', '', '🚀', 'b'].slice(0, pieces.length));
    expect(pieces.join('')).toBe('a🚀b');
  });

  it('leaves special tokens out unless a parser asks for them', async () => {
    const tokenizer = await loadTokenizer(fixture('qwen3_5_moe'));
    const ids = [496, 490, ...tokenizer.encodeText('x'), 497];
    const plain = new Detokenizer(tokenizer);
    expect(ids.map((id) => plain.push(id)).join('')).toBe('<think>x');
    const asked = new Detokenizer(tokenizer, ['<|im_start|>']);
    expect(ids.map((id) => asked.push(id)).join('')).toBe('<|im_start|><think>x');
  });
});

describe('a tokenizer that cannot be read', () => {
  const write = async (files: Record<string, unknown>): Promise<string> => {
    const dir = await mkdtemp(join(tmpdir(), 'tokenizer-'));
    for (const [name, value] of Object.entries(files)) {
      await writeFile(join(dir, name), typeof value === 'string' ? value : JSON.stringify(value));
    }
    return dir;
  };

  it('is named when no file is there', async () => {
    await expect(loadTokenizer(await write({}))).rejects.toMatchObject({
      code: 'ERR_MODEL_DAMAGED',
      message: expect.stringContaining('neither tokenizer.json nor tiktoken.model') as string,
    });
  });

  it('is named when its JSON is torn', async () => {
    await expect(
      loadTokenizer(await write({ 'tokenizer.json': '{"model":' })),
    ).rejects.toMatchObject({
      code: 'ERR_MODEL_DAMAGED',
      message: expect.stringContaining('tokenizer.json') as string,
    });
  });

  it('is refused by name for another kind of model', async () => {
    const dir = await write({ 'tokenizer.json': { model: { type: 'Unigram', vocab: [] } } });
    await expect(loadTokenizer(dir)).rejects.toMatchObject({
      code: 'ERR_UNSUPPORTED_MODEL',
      message: expect.stringContaining('Unigram') as string,
    });
  });

  it('is named with the line for a bad tiktoken.model', async () => {
    const dir = await write({ 'tiktoken.model': 'YQ== 0\nnot a line\n' });
    await expect(loadTokenizer(dir)).rejects.toMatchObject({
      code: 'ERR_MODEL_DAMAGED',
      message: expect.stringContaining('line 2') as string,
    });
  });
});
