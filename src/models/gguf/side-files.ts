// The small files of a model that comes as GGUF, made of its metadata: with them it is read like every other model.

import { type GgufMetadata, unsupportedKey } from './metadata.js';
import type { GgufModel } from './registry.js';
import { tokenizerJson, tokensOf } from './tokenizer.js';

/** Ids that end an answer; the file has no list of them. */
const STOPS = ['eos', 'eot', 'eom'];
/** Of tokenizer_config.json. */
const NAMED = { bos_token: 'bos', eos_token: 'eos', pad_token: 'padding', unk_token: 'unknown' };
/** Of generation_config.json. */
const SAMPLING = { temperature: 'temp', top_k: 'top_k', top_p: 'top_p', min_p: 'min_p' };

/** Text by name. Throws ERR_UNSUPPORTED_MODEL naming the key. */
export function ggufSideFiles(
  metadata: GgufMetadata,
  { config, architecture }: Pick<GgufModel, 'config' | 'architecture'>,
): Record<string, string> {
  const tokens = tokensOf(metadata);
  const idOf = (name: string): number | null => {
    const key = `tokenizer.ggml.${name}_token_id`;
    if (!metadata.has(key)) return null;
    const id = metadata.whole(key);
    if (id < tokens.length) return id;
    throw unsupportedKey(key, id, `below ${tokens.length}, the number of tokens`);
  };
  const further = (architecture.stops ?? []).map((text) => tokens.indexOf(text));
  const ends = [...STOPS.map(idOf), ...further.filter((id) => id >= 0)];
  const eos_token_id = [...new Set(ends.filter((id) => id !== null))];
  const settings: Record<string, number> = {};
  for (const [field, name] of Object.entries(SAMPLING)) {
    const key = `general.sampling.${name}`;
    if (metadata.has(key)) settings[field] = metadata.number(key);
  }
  const named: Record<string, string> = {};
  for (const [field, name] of Object.entries(NAMED)) {
    const id = idOf(name);
    if (id !== null) named[field] = tokens[id] ?? '';
  }
  const { chat_template, ...more } = templatesOf(metadata);
  return {
    'config.json': jsonText({ ...config, eos_token_id }),
    'generation_config.json': jsonText({ eos_token_id, ...settings }),
    'tokenizer.json': jsonText(tokenizerJson(metadata)),
    'tokenizer_config.json': jsonText({ ...named, ...more }),
    ...(chat_template !== undefined && { 'chat_template.jinja': chat_template }),
  };
}

/** Further templates stay beside it under their names, as in the configs of other models. */
function templatesOf(metadata: GgufMetadata): { chat_template?: string; chat_templates?: object[] } {
  const key = 'tokenizer.chat_template';
  const names = metadata.texts('tokenizer.chat_templates') ?? [];
  const chat_templates = names
    .filter((name) => metadata.has(`${key}.${name}`))
    .map((name) => ({ name, template: metadata.text(`${key}.${name}`) }));
  return {
    ...(metadata.has(key) && { chat_template: metadata.text(key) }),
    ...(chat_templates.length > 0 && { chat_templates }),
  };
}

function jsonText(value: object): string {
  return `${JSON.stringify(value)}\n`;
}
