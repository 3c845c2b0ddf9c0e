// Text to token ids and back, from the checkpoint's own files. A tokenizer here encodes plain text
// only: control tokens (all added tokens: <|im_end|>, <think>, …) are known to it by name but can't
// come out of `encodeText`. control-text.ts puts them where the chat template wrote them.

import { join } from 'node:path';
import * as hub from '@huggingface/tokenizers';
import { FlashmoeError } from '../base/errors.js';
import { bytesOfEntry } from './byte-level.js';
import { isObject, readJsonObject, readText, type JsonObject } from './model-files.js';
import { tiktokenTokenizer } from './tiktoken.js';
import type { ControlToken, Tokenizer } from './tokenizer-types.js';

// The library's declarations name their files without extensions, which NodeNext doesn't resolve.
const { Tokenizer: HubTokenizer } = hub as unknown as {
  Tokenizer: new (
    file: object,
    config: object,
  ) => { encode(text: string, options: { add_special_tokens: boolean }): { ids: number[] } };
};

/** tokenizer.json if there is one, else tiktoken.model with tokenizer_config.json. */
export async function loadTokenizer(dir: string): Promise<Tokenizer> {
  const file = await readJsonObject(dir, 'tokenizer.json');
  if (file !== null) return jsonTokenizer(file, join(dir, 'tokenizer.json'));
  const ranks = await readText(dir, 'tiktoken.model');
  if (ranks === null) {
    throw new FlashmoeError(
      'ERR_MODEL_DAMAGED',
      `${dir}: neither tokenizer.json nor tiktoken.model is there`,
    );
  }
  const config = await readJsonObject(dir, 'tokenizer_config.json');
  return tiktokenTokenizer(ranks, readDecoder(config), join(dir, 'tiktoken.model'));
}

function jsonTokenizer(file: JsonObject, path: string): Tokenizer {
  const refuse = (what: string): never => {
    throw new FlashmoeError('ERR_UNSUPPORTED_MODEL', `${path}: ${what} is not supported`);
  };
  const model = isObject(file.model) ? file.model : {};
  if (model.type !== 'BPE' || !isObject(model.vocab)) refuse(`model type ${String(model.type)}`);
  if (!JSON.stringify(file.decoder ?? null).includes('"ByteLevel"')) {
    refuse('a decoder other than ByteLevel');
  }
  const controlTokens = readAddedTokens(file.added_tokens, refuse);
  const control = new Map(controlTokens.map((token) => [token.id, token]));
  const names = new Set(controlTokens.map((token) => token.content));

  // Without the control tokens' names in it, neither the added-token split nor `ignore_merges` can
  // turn text into one of them.
  const entries = Object.entries(model.vocab as Record<string, number>);
  const vocab = Object.fromEntries(entries.filter(([entry]) => !names.has(entry)));
  const encoder = new HubTokenizer({ ...file, model: { ...model, vocab }, added_tokens: [] }, {});

  const texts = new Map<number, string>();
  for (const [entry, id] of Object.entries(vocab)) texts.set(id, entry);
  const utf8 = new TextEncoder();
  let limit = 0;
  for (const id of [...texts.keys(), ...control.keys()]) limit = Math.max(limit, id + 1);
  return {
    encodeText: (text) => encoder.encode(text, { add_special_tokens: false }).ids,
    controlTokens,
    bytes(id) {
      const token = control.get(id);
      if (token !== undefined) return utf8.encode(token.content);
      const entry = texts.get(id) ?? '';
      return bytesOfEntry(entry) ?? utf8.encode(entry);
    },
    tokenLimit: limit,
  };
}

function readAddedTokens(value: unknown, refuse: (what: string) => never): ControlToken[] {
  if (!Array.isArray(value)) return [];
  return value.map((token: unknown) => {
    if (!isObject(token) || typeof token.content !== 'string' || !Number.isInteger(token.id)) {
      return refuse('an added token without content or id');
    }
    // These would make the token swallow or need neighbours of user text.
    for (const option of ['single_word', 'lstrip', 'rstrip']) {
      if (token[option] === true) refuse(`${option} of ${token.content}`);
    }
    return { id: token.id as number, content: token.content, special: token.special === true };
  });
}

/** `added_tokens_decoder` of tokenizer_config.json: control tokens by id. */
function readDecoder(config: JsonObject | null): ControlToken[] {
  const decoder = config?.added_tokens_decoder;
  if (!isObject(decoder)) return [];
  return Object.entries(decoder).flatMap(([id, token]) =>
    isObject(token) && typeof token.content === 'string'
      ? [{ id: Number(id), content: token.content, special: token.special !== false }]
      : [],
  );
}
