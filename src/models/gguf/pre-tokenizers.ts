// How text is cut before pairs are joined, by the name in `tokenizer.ggml.pre`: the patterns of the models' own tokenizer.json
// files, which the converter recognises and then leaves out. Names are those of ggml-org/llama.cpp, src/llama-vocab.cpp.

const CONTRACTION = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const SPACES = String.raw`\s*[\r\n]+|\s+(?!\S)|\s+`;

/** Words of `letter`, digits in runs of up to `digits`. */
const simple = (letter: string, digits: number): string[] => [
  [
    CONTRACTION,
    String.raw`[^\r\n\p{L}\p{N}]?${letter === 'L' ? String.raw`\p{L}` : String.raw`[\p{L}\p{M}]`}+`,
    digits === 1 ? String.raw`\p{N}` : String.raw`\p{N}{1,${digits}}`,
    String.raw` ?[^\s\p{L}${letter === 'L' ? '' : String.raw`\p{M}`}\p{N}]+[\r\n]*`,
    SPACES,
  ].join('|'),
];

/** Words whose capitals come first, of characters that fit `more`, too. */
const cased = (more: string): string => {
  const of = (classes: string): string => `(?:${more}[${classes}])`;
  const upper = of(String.raw`\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}`);
  const lower = of(String.raw`\p{Ll}\p{Lm}\p{Lo}\p{M}`);
  const lead = String.raw`[^\r\n\p{L}\p{N}]?`;
  return `${lead}${upper}*${lower}+${CONTRACTION}?|${lead}${upper}+${lower}*${CONTRACTION}?`;
};

const DIGITS = String.raw`\p{N}{1,3}`;
const o200k = [[cased(''), DIGITS, String.raw` ?[^\s\p{L}\p{N}]+[\r\n/]*`, SPACES].join('|')];

const HAN = String.raw`\p{Script=Han}`;
const kimi = [
  [`${HAN}+`, cased(`(?!${HAN})`), DIGITS, String.raw` ?[^\s\p{L}\p{N}]+[\r\n]*`, SPACES].join('|'),
];

/** Three passes, each over what the one before left whole. */
const deepseek = [
  DIGITS,
  '[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+',
  [
    '[!"#$%&\'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+',
    String.raw`[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+`,
    String.raw` ?[\p{P}\p{S}]+[\r\n]*`,
    SPACES,
  ].join('|'),
];

/** Name → patterns, applied one after the other. */
const PRE_TOKENIZERS: Readonly<Record<string, readonly string[]>> = {
  qwen2: simple('L', 1),
  'deepseek-r1-qwen': simple('L', 1),
  qwen35: simple('LM', 1),
  ...{ glm4: simple('L', 3), 'chatglm-bpe': simple('L', 3) },
  ...{ 'gpt-4o': o200k, 'minimax-m2': o200k },
  'deepseek-v3': deepseek,
  'kimi-k2': kimi,
};

export const PRE_TOKENIZER_NAMES: string[] = Object.keys(PRE_TOKENIZERS);

/** For tokenizer.json; null for a name that isn't known. */
export function preTokenizer(name: string): object | null {
  if (!Object.hasOwn(PRE_TOKENIZERS, name)) return null;
  const splits = (PRE_TOKENIZERS[name] ?? []).map((Regex) => ({
    ...{ type: 'Split', pattern: { Regex }, behavior: 'Isolated', invert: false },
  }));
  const bytes = {
    ...{ type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
  };
  return { type: 'Sequence', pretokenizers: [...splits, bytes] };
}
