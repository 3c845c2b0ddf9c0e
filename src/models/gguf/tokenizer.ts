// tokenizer.json out of a GGUF file's metadata: byte-level pairs, the one kind that the families here have.

import { type GgufMetadata, unsupportedKey } from './metadata.js';
import { PRE_TOKENIZER_NAMES, preTokenizer } from './pre-tokenizers.js';

const key = (name: string): string => `tokenizer.ggml.${name}`;

/** Of `tokenizer.ggml.token_type`. */
const [NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED] = [1, 2, 3, 4, 5];

/** The file stores no normaliser, so text is taken as it is. Throws ERR_UNSUPPORTED_MODEL naming the key. */
export function tokenizerJson(metadata: GgufMetadata): object {
  const model = metadata.text(key('model'));
  if (model !== 'gpt2') throw unsupportedKey(key('model'), model, '"gpt2" (byte-level BPE)');
  const pre = metadata.text(key('pre'));
  const pre_tokenizer = preTokenizer(pre);
  if (pre_tokenizer === null) throw unsupportedKey(key('pre'), pre, PRE_TOKENIZER_NAMES.join(', '));
  const tokens = tokensOf(metadata);
  const types = typesOf(metadata, tokens.length);
  const vocab: [string, number][] = [];
  const added_tokens: object[] = [];
  tokens.forEach((content, id) => {
    const type = types[id] ?? NORMAL;
    if (type === NORMAL) vocab.push([content, id]);
    else if (type === UNKNOWN || type === CONTROL || type === USER_DEFINED) {
      const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false };
      added_tokens.push({ id, content, ...flags, special: type !== USER_DEFINED });
    } else if (type !== UNUSED) {
      throw unsupportedKey(key('token_type'), type, '1 to 5');
    }
  });
  return {
    ...{ version: '1.0', truncation: null, padding: null, added_tokens, normalizer: null },
    ...{ pre_tokenizer, post_processor: null },
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      ...{ type: 'BPE', dropout: null, unk_token: null, continuing_subword_prefix: null },
      ...{ end_of_word_suffix: null, fuse_unk: false, byte_fallback: false, ignore_merges: false },
      vocab: Object.fromEntries(vocab),
      merges: mergesOf(metadata),
    },
  };
}

/** Text of every id. */
export function tokensOf(metadata: GgufMetadata): string[] {
  const tokens = metadata.texts(key('tokens'));
  if (tokens === null) throw unsupportedKey(key('tokens'), undefined, 'a list of texts');
  return tokens;
}

function typesOf(metadata: GgufMetadata, count: number): number[] {
  const types = metadata.numbers(key('token_type')) ?? [];
  if (types.length !== 0 && types.length !== count) {
    throw unsupportedKey(key('token_type'), `${types.length} types`, `${count}, one for each token`);
  }
  return types;
}

/** Both halves may hold any printable character but a space, which parts them. */
function mergesOf(metadata: GgufMetadata): [string, string][] {
  const merges = metadata.texts(key('merges'));
  if (merges === null) throw unsupportedKey(key('merges'), undefined, 'a list of texts');
  return merges.map((merge) => {
    const space = merge.indexOf(' ', 1);
    if (space < 1 || space === merge.length - 1) throw unsupportedKey(key('merges'), merge, 'pairs');
    return [merge.slice(0, space), merge.slice(space + 1)];
  });
}
