// What the checkpoint says about generating: where its text ends, and how it wants to be sampled.

import { FlashmoeError } from '../base/errors.js';
import { isObject, readJsonObject, type JsonObject, type ModelFiles } from './model-files.js';
import type { Vocabulary } from './tokenizer-types.js';
import type { Sampling } from './types.js';

export interface GenerationSettings {
  stopIds: ReadonlySet<number>;
  sampling: Sampling;
}

/**
 * Stop ids: the union of generation_config.json, config.json (its text_config, too), the tokenizer's
 * eos_token and the token with which the template ends a turn. Any one of them alone is known to be
 * incomplete in published checkpoints.
 */
export async function loadGenerationSettings(
  files: ModelFiles,
  tokenizer: Vocabulary,
  endOfTurn: number | null,
): Promise<GenerationSettings> {
  const generation = (await readJsonObject(files, 'generation_config.json')) ?? {};
  const config = (await readJsonObject(files, 'config.json')) ?? {};
  const tokens = (await readJsonObject(files, 'tokenizer_config.json')) ?? {};
  const text = isObject(config.text_config) ? config.text_config : {};
  const eos = isObject(tokens.eos_token) ? tokens.eos_token.content : tokens.eos_token;
  const named = tokenizer.controlTokens.find((token) => token.content === eos)?.id;
  const ids = [generation, config, text].flatMap((source) => eosIds(source.eos_token_id));
  const stops = [...ids, named, endOfTurn].filter((id) => typeof id === 'number');
  if (stops.length === 0) {
    throw new FlashmoeError(
      'ERR_MODEL_DAMAGED',
      `${typeof files === 'string' ? files : files.label}: no file names a token that ends an answer (eos_token_id, eos_token, chat template)`,
      { subject: 'eos_token_id' },
    );
  }
  return { stopIds: new Set(stops), sampling: sampling(generation) };
}

function eosIds(value: unknown): number[] {
  const list: unknown[] = Array.isArray(value) ? value : [value];
  return list.filter((id): id is number => typeof id === 'number' && Number.isInteger(id));
}

function sampling(generation: JsonObject): Sampling {
  const number = (name: string, otherwise: number): number => {
    const value = generation[name];
    return typeof value === 'number' && Number.isFinite(value) ? value : otherwise;
  };
  return {
    temperature: generation.do_sample === false ? 0 : number('temperature', 1),
    topP: number('top_p', 1),
    topK: number('top_k', 0),
    minP: number('min_p', 0),
    seed: null,
    presencePenalty: 0,
    frequencyPenalty: 0,
    repetitionPenalty: Math.max(0.01, number('repetition_penalty', 1)),
    logitBias: {},
  };
}
