// What a GGUF file's metadata becomes: tokenizer, template, stop ids and sampling, and the config of each architecture.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { loadGenerationSettings } from '../../src/engine/generation-settings.js';
import { loadTokenizer } from '../../src/engine/tokenizer.js';
import type { Tokenizer } from '../../src/engine/tokenizer-types.js';
import { GgufMetadata, type GgufValue } from '../../src/models/gguf/metadata.js';
import { readGgufModel } from '../../src/models/gguf/registry.js';
import { ggufSideFiles } from '../../src/models/gguf/side-files.js';
import { tokenizerJson } from '../../src/models/gguf/tokenizer.js';
import { parseGguf } from '../../src/repack/gguf.js';
import { fixture } from '../repack/fixtures.js';

const FOLDER = join(fixture('gguf'), 'qwen3moe-mixed');
let values: Map<string, GgufValue>;
let names: Set<string>;

beforeAll(() => {
  const file = readFileSync(join(FOLDER, 'qwen3moe-mixed.gguf'));
  const header = parseGguf(file, file.length, 'a.gguf');
  values = new Map(header?.metadata);
  names = new Set(header?.tensors.map(({ name }) => name));
});

const changed = (changes: Record<string, GgufValue | null>): GgufMetadata => {
  const all = new Map(values);
  for (const [key, value] of Object.entries(changes)) {
    if (value === null) all.delete(key);
    else all.set(key, value);
  }
  return new GgufMetadata(all);
};
const texts = (list: string[]): GgufValue => ({
  ...{ length: list.length, texts: () => list, numbers: () => null },
});
const numbers = (list: number[]): GgufValue => ({
  ...{ length: list.length, texts: () => null, numbers: () => list },
});
const filesOf = (metadata: GgufMetadata): Record<string, string> =>
  ggufSideFiles(metadata, readGgufModel(metadata, (name) => names.has(name)));

/** As with special tokens parsed: added tokens first, text between them. */
function encode(tokenizer: Tokenizer, text: string): number[] {
  const [first] = tokenizer.controlTokens
    .map((token) => ({ ...token, at: text.indexOf(token.content) }))
    .filter(({ at }) => at >= 0)
    .sort((a, b) => a.at - b.at || b.content.length - a.content.length);
  if (first === undefined) return text === '' ? [] : tokenizer.encodeText(text);
  const [before, after] = [text.slice(0, first.at), text.slice(first.at + first.content.length)];
  return [...encode(tokenizer, before), first.id, ...encode(tokenizer, after)];
}

test('the tokenizer gives the ids that llama.cpp gives', async () => {
  const golden = JSON.parse(readFileSync(join(FOLDER, 'golden_tokenizer.json'), 'utf8')) as {
    cases: { text: string; ids: number[] }[];
  };
  const tokenizer = await loadTokenizer({ label: 'a.gguf', texts: filesOf(changed({})) });
  expect(golden.cases.length).toBeGreaterThan(20);
  for (const { text, ids } of golden.cases) expect(encode(tokenizer, text), text).toEqual(ids);
});

describe('generation stops and samples as the metadata says:', () => {
  test('at eos, eot and eom alike', async () => {
    const ids = { 'tokenizer.ggml.eot_token_id': 498, 'tokenizer.ggml.eom_token_id': 499 };
    const files = { label: 'a.gguf', texts: filesOf(changed(ids)) };
    const { stopIds } = await loadGenerationSettings(files, await loadTokenizer(files), null);
    expect([...stopIds].sort()).toEqual([497, 498, 499]);
  });

  test('with its defaults', async () => {
    const said = { temp: 0.5, top_k: 20, top_p: 0.75, min_p: 0.125 };
    const keys = Object.entries(said).map(([key, value]) => [`general.sampling.${key}`, value]);
    const metadata = changed(Object.fromEntries(keys) as Record<string, number>);
    const files = { label: 'a.gguf', texts: filesOf(metadata) };
    const { sampling } = await loadGenerationSettings(files, await loadTokenizer(files), null);
    expect(sampling).toMatchObject({ temperature: 0.5, topK: 20, topP: 0.75, minP: 0.125 });
  });

  test('with its template, and further ones kept by name', () => {
    const files = filesOf(
      changed({
        'tokenizer.chat_templates': texts(['tool_use']),
        'tokenizer.chat_template.tool_use': 'tools',
      }),
    );
    expect(files['chat_template.jinja']).toBe(values.get('tokenizer.chat_template'));
    expect(files['tokenizer_config.json']).toContain('"template":"tools"');
  });
});

describe('text is cut as the model was trained, by', () => {
  const merges = ['1 2', '12 3', '\u0120 a', '\u0120a \u00cc'];
  const tokensFor = async (pre: string, text: string): Promise<string[]> => {
    const bytes = (values.get('tokenizer.ggml.tokens') as { texts(): string[] }).texts();
    const vocabulary = [...bytes.slice(0, 256), ...merges.map((merge) => merge.replace(' ', ''))];
    const metadata = changed({
      'tokenizer.ggml.pre': pre,
      'tokenizer.ggml.tokens': texts(vocabulary),
      'tokenizer.ggml.token_type': numbers(vocabulary.map(() => 1)),
      'tokenizer.ggml.merges': texts(merges),
    });
    const files = { 'tokenizer.json': JSON.stringify(tokenizerJson(metadata)) };
    const tokenizer = await loadTokenizer({ label: 'a.gguf', texts: files });
    return tokenizer.encodeText(text).map((id) => vocabulary[id] ?? '');
  };

  test.each([
    ['qwen2', ['1', '2', '3']],
    ['qwen35', ['1', '2', '3']],
    ['deepseek-r1-qwen', ['1', '2', '3']],
    ['glm4', ['123']],
    ['chatglm-bpe', ['123']],
    ['gpt-4o', ['123']],
    ['minimax-m2', ['123']],
    ['deepseek-v3', ['123']],
    ['kimi-k2', ['123']],
  ])('%s: digits', async (pre, tokens) => {
    expect(await tokensFor(pre, '123')).toEqual(tokens);
  });

  // An a and a combining accent, which is a letter's or stands alone.
  test.each([
    ['qwen2', 3],
    ['qwen35', 2],
    ['gpt-4o', 2],
    ['deepseek-v3', 2],
  ])('%s: combining marks', async (pre, count) => {
    expect(await tokensFor(pre, ' a\u0301')).toHaveLength(count);
  });

  test('an unknown name is refused by name', () => {
    expect(() => tokenizerJson(changed({ 'tokenizer.ggml.pre': 'gemma9' }))).toThrow(
      /tokenizer\.ggml\.pre = "gemma9" is not supported; supported: qwen2, /,
    );
    expect(() => tokenizerJson(changed({ 'tokenizer.ggml.model': 'llama' }))).toThrow('gpt2');
  });

  test('kimi-k2 as the vocabulary of its own kind cuts it', async () => {
    const golden = JSON.parse(
      readFileSync(join(fixture('kimi_k2'), 'golden_tokenizer.json'), 'utf8'),
    ) as { cases: { text: string }[] };
    const own = await loadTokenizer(fixture('kimi_k2'));
    const ranks = Array.from({ length: own.tokenLimit }, (_, id) => own.bytes(id));
    const metadata = changed(bytePairs(ranks, own));
    const files = { 'tokenizer.json': JSON.stringify(tokenizerJson(metadata)) };
    const made = await loadTokenizer({ label: 'a.gguf', texts: files });
    const more = ['漢字かな kana漢字 mixed漢', "We'RE 12345 OK!?\n\n  x", 'ÀB éÉ \u0301x'];
    for (const { text } of [...golden.cases, ...more.map((text) => ({ text }))]) {
      expect(made.encodeText(text), text).toEqual(own.encodeText(text));
    }
  });

  /** As the converter rebuilds them: the two parts that ranks below the token's own leave of it. */
  function bytePairs(ranks: Uint8Array[], own: Tokenizer): Record<string, GgufValue> {
    const control = new Set(own.controlTokens.map(({ id }) => id));
    const printable = (values.get('tokenizer.ggml.tokens') as { texts(): string[] }).texts();
    // The first 256 tokens of the other vocabulary are the bytes in their printable order.
    const order = [...range(33, 127), ...range(161, 173), ...range(174, 256)];
    const rest = range(0, 256).filter((byte) => !order.includes(byte));
    const letter = new Map([...order, ...rest].map((byte, i) => [byte, printable[i] ?? '']));
    const spelt = (bytes: Uint8Array): string =>
      [...bytes].map((byte) => letter.get(byte) ?? '').join('');
    const rankOf = new Map<string, number>();
    ranks.forEach((bytes, id) => {
      if (!control.has(id)) rankOf.set(spelt(bytes), id);
    });
    const merges: [number, string][] = [];
    for (const [word, rank] of rankOf) {
      let parts = [...word];
      for (;;) {
        const ranked = parts
          .slice(1)
          .map((part, i) => ({ i, rank: rankOf.get((parts[i] ?? '') + part) ?? Infinity }))
          .filter((pair) => pair.rank < rank)
          .sort((a, b) => a.rank - b.rank || a.i - b.i);
        const [best] = ranked;
        if (best === undefined) break;
        const joined = (parts[best.i] ?? '') + (parts[best.i + 1] ?? '');
        parts = [...parts.slice(0, best.i), joined, ...parts.slice(best.i + 2)];
      }
      if (parts.length === 2) merges.push([rank, parts.join(' ')]);
    }
    merges.sort(([a], [b]) => a - b);
    const tokens = ranks.map((bytes, id) =>
      control.has(id) ? `<control ${id}>` : spelt(bytes) || `[PAD${id}]`,
    );
    return {
      'tokenizer.ggml.pre': 'kimi-k2',
      'tokenizer.ggml.tokens': texts(tokens),
      'tokenizer.ggml.token_type': numbers(
        ranks.map((bytes, id) => (control.has(id) ? 3 : bytes.length === 0 ? 5 : 1)),
      ),
      'tokenizer.ggml.merges': texts(merges.map(([, merge]) => merge)),
    };
  }
  function range(from: number, to: number): number[] {
    return Array.from({ length: to - from }, (_, i) => from + i);
  }
});

describe('what a model can not be is refused by the name of its key:', () => {
  test.each<[string, Record<string, GgufValue | null>, string]>([
    ['architecture', { 'general.architecture': 'llama' }, 'general.architecture = "llama"'],
    ['type', { 'general.type': 'mmproj' }, 'general.type = "mmproj"'],
    ['version of blocks', { 'general.quantization_version': 1 }, 'quantization_version = 1'],
    ['scoring', { 'qwen3moe.expert_gating_func': 2 }, 'expert_gating_func = "sigmoid"'],
    ['rope', { 'qwen3moe.rope.scaling.type': 'longrope' }, 'scaling.type = "longrope"'],
    ['values of another width', { 'qwen3moe.attention.value_length': 32 }, 'value_length = 32'],
    ['layers', { 'qwen3moe.block_count': null }, 'qwen3moe.block_count = absent'],
    ['heads that differ', { 'qwen3moe.attention.head_count': numbers([4, 4, 2, 4]) }, '[4, 2]'],
    ['a text for a number', { 'qwen3moe.expert_count': 'many' }, 'expert_count = "many"'],
  ])('%s', (_, changes, message) => {
    const metadata = changed(changes);
    expect(() => readGgufModel(metadata, (name) => names.has(name))).toThrow(message);
  });

  test('a number for each layer is as good as one for all', () => {
    const heads = { 'qwen3moe.attention.head_count': numbers([4, 4, 4, 4]) };
    const { spec } = readGgufModel(changed(heads), (name) => names.has(name));
    expect(spec).toEqual(readGgufModel(changed({}), (name) => names.has(name)).spec);
  });
});
