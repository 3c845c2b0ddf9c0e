// Text to token ids and back, from the checkpoint's own files. A tokenizer here encodes plain text
// only: control tokens (all added tokens: <|im_end|>, <think>, …) are known to it by name but can't
// come out of `encodeText`. control-text.ts puts them where the chat template wrote them.

import * as hub from '@huggingface/tokenizers';
import { FlashmoeError } from '../base/errors.js';
import { bytesOfEntry } from './byte-level.js';
import {
  isObject,
  nameOf,
  readJsonObject,
  readText,
  type JsonObject,
  type ModelFiles,
} from './model-files.js';
import { tiktokenTokenizer } from './tiktoken.js';
import type { ControlToken, Tokenizer, Vocabulary } from './tokenizer-types.js';

// The library's declarations name their files without extensions, which NodeNext doesn't resolve.
const { Tokenizer: HubTokenizer } = hub as unknown as {
  Tokenizer: new (
    file: object,
    config: object,
  ) => { encode(text: string, options: { add_special_tokens: boolean }): { ids: number[] } };
};

/** Far above every vocabulary; tables by id are made of this many entries at most. */
const MOST_IDS = 2 ** 24;

/**
 * tokenizer.json if there is one, else tiktoken.model with tokenizer_config.json. ERR_UNSUPPORTED_MODEL for a kind
 * that isn't read here, ERR_MODEL_DAMAGED for files that are missing or broken; both name file and field.
 */
export async function loadTokenizer(files: ModelFiles): Promise<Tokenizer> {
  const file = await readJsonObject(files, 'tokenizer.json');
  if (file === null) return await loadTiktoken(files);
  const path = nameOf(files, 'tokenizer.json');
  const { vocabulary, encodable } = jsonVocabulary(file, path);
  const encoder = jsonEncoder(file, encodable, path);
  return {
    ...vocabulary,
    encodeText: (text) => encoder.encode(text, { add_special_tokens: false }).ids,
  };
}

/** As loadTokenizer, at a fraction of its time and memory where no text is to be encoded. */
export async function loadVocabulary(files: ModelFiles): Promise<Vocabulary> {
  const file = await readJsonObject(files, 'tokenizer.json');
  if (file === null) return await loadTiktoken(files);
  return jsonVocabulary(file, nameOf(files, 'tokenizer.json')).vocabulary;
}

async function loadTiktoken(files: ModelFiles): Promise<Tokenizer> {
  const ranks = await readText(files, 'tiktoken.model');
  if (ranks === null) {
    const [folder, subject] = [typeof files === 'string' ? files : files.label, 'tokenizer.json'];
    throw new FlashmoeError(
      'ERR_MODEL_DAMAGED',
      `${folder}: neither tokenizer.json nor tiktoken.model is there`,
      { subject },
    );
  }
  const config = await readJsonObject(files, 'tokenizer_config.json');
  const path = nameOf(files, 'tiktoken.model');
  const tokenizer = tiktokenTokenizer(ranks, readDecoder(config), path);
  checkIds(tokenizer.tokenLimit, path);
  return tokenizer;
}

type Refuse = (field: string, what: string) => never;

function refusal(path: string): Refuse {
  return (field, what) => {
    throw new FlashmoeError('ERR_UNSUPPORTED_MODEL', `${path}: ${field}: ${what}`, {
      subject: field,
    });
  };
}

function checkIds(limit: number, path: string): void {
  if (limit === 0) refusal(path)('vocab', 'it is empty');
  if (limit > MOST_IDS) refusal(path)('vocab', `the id ${limit - 1} is above ${MOST_IDS}`);
}

/** `encodable`: the vocabulary's entries that text may become. */
function jsonVocabulary(
  file: JsonObject,
  path: string,
): { vocabulary: Vocabulary; encodable: [string, number][] } {
  const refuse = refusal(path);
  const model = isObject(file.model) ? file.model : refuse('model', 'it is missing');
  if (model.type !== 'BPE') refuse('model.type', `${String(model.type)} is not supported, BPE is`);
  if (!isObject(model.vocab)) return refuse('model.vocab', 'it is no table of ids');
  if (!JSON.stringify(file.decoder ?? null).includes('"ByteLevel"')) {
    refuse('decoder', 'one other than ByteLevel is not supported');
  }
  const controlTokens = readAddedTokens(file.added_tokens, refuse);
  const control = new Map(controlTokens.map((token) => [token.id, token]));
  const names = new Set(controlTokens.map((token) => token.content));

  // Without the control tokens' names in it, neither the added-token split nor `ignore_merges` can
  // turn text into one of them.
  const entries = Object.entries(model.vocab);
  const wrong = entries.find(([, id]) => !Number.isInteger(id) || (id as number) < 0);
  if (wrong !== undefined) {
    const [entry, id] = wrong.map((part) => JSON.stringify(part)?.slice(0, 80));
    refuse('model.vocab', `${entry} has the id ${id}, which is no whole number`);
  }
  const encodable = (entries as [string, number][]).filter(([entry]) => !names.has(entry));
  if (encodable.length === 0) refuse('model.vocab', 'it is empty');

  const texts = new Map<number, string>();
  for (const [entry, id] of encodable) texts.set(id, entry);
  const utf8 = new TextEncoder();
  let limit = 0;
  for (const id of [...texts.keys(), ...control.keys()]) limit = Math.max(limit, id + 1);
  checkIds(limit, path);
  const vocabulary: Vocabulary = {
    controlTokens,
    bytes(id) {
      const token = control.get(id);
      if (token !== undefined) return utf8.encode(token.content);
      const entry = texts.get(id) ?? '';
      return bytesOfEntry(entry) ?? utf8.encode(entry);
    },
    tokenLimit: limit,
  };
  return { vocabulary, encodable };
}

function jsonEncoder(
  file: JsonObject,
  encodable: readonly [string, number][],
  path: string,
): InstanceType<typeof HubTokenizer> {
  const model = { ...(file.model as JsonObject), vocab: Object.fromEntries(encodable) };
  try {
    return new HubTokenizer({ ...file, model, added_tokens: [] }, {});
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new FlashmoeError('ERR_UNSUPPORTED_MODEL', `${path}: it can't be used: ${why}`, {
      subject: 'tokenizer.json',
      cause,
    });
  }
}

function readAddedTokens(value: unknown, refuse: Refuse): ControlToken[] {
  if (!Array.isArray(value)) return [];
  return value.map((token: unknown) => {
    const isToken = isObject(token) && typeof token.content === 'string' && token.content !== '';
    if (!isToken || !Number.isInteger(token.id) || (token.id as number) < 0) {
      return refuse('added_tokens', 'one is without content or id');
    }
    // These would make the token swallow or need neighbours of user text.
    for (const option of ['single_word', 'lstrip', 'rstrip']) {
      if (token[option] === true) {
        refuse('added_tokens', `${option} of ${String(token.content)} is not supported`);
      }
    }
    return {
      id: token.id as number,
      content: token.content as string,
      special: token.special === true,
    };
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
