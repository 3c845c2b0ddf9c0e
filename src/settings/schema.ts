// settings.json: what the user chose once. The definition of the service stays constant because the server reads
// its model and port here. docs/settings.md is made from this file.

import * as z from 'zod';
import { QUANTS } from '../models/quant.js';
import {
  engineOptions,
  fastTierOptions,
  keepAliveOption,
  promptCacheOption,
  type EngineOptions,
} from './engine-options.js';
import { oneOf, text, wholeNumberFrom } from './kinds.js';
import { option, withNothingSaid, type Kind, type OptionSet, type Values } from './option.js';

/** Keys that hold for all models, and below `models` for one. */
export const MODEL_SETTINGS = engineOptions;

export const SETTINGS = {
  model: option('--model <name>', 'the model that answers when none is named', text),
  // Written with the model, by `flashmoe use` and by the first setup: no flag stands for it.
  quant: option('', 'the width of it that answers, where several are here', oneOf(QUANTS)),
  ...MODEL_SETTINGS,
  port: option('--port <port>', 'where the server listens', wholeNumberFrom(1, 65_535), '11435'),
  ...fastTierOptions,
  promptCacheGB: promptCacheOption,
  keepAliveMinutes: keepAliveOption,
} satisfies OptionSet;

type Said<Set extends OptionSet> = {
  [Name in keyof Set]?: NonNullable<Values<Set>[Name]>;
};

/** What is not said is absent. */
export interface Settings extends Said<typeof SETTINGS> {
  /** By folder name of the model, as `flashmoe status` shows it. */
  models?: Record<string, Said<typeof MODEL_SETTINGS>>;
}

export type ModelSettingName = keyof typeof MODEL_SETTINGS;

export interface CheckedSettings {
  settings: Settings;
  /** Keys that this version doesn't know; they stay in the file. */
  unknown: string[];
  /** Sentences about keys whose values can't be used. */
  problems: string[];
}

const anObject = z.record(z.string(), z.unknown());

/** Takes what can be used of a parsed file. */
export function checkSettings(json: unknown): CheckedSettings {
  const found = anObject.safeParse(json);
  if (!found.success) return { settings: {}, unknown: [], problems: ['not a JSON object'] };
  const { models, ...rest } = found.data;
  const { values, unknown, problems } = checkSet(SETTINGS, rest, '');
  const settings = values as Settings;
  if (models === undefined) return { settings, unknown, problems };
  const byModel = anObject.safeParse(models);
  if (!byModel.success) problems.push('`models` must be an object with a key for each model');
  for (const [id, own] of Object.entries(byModel.data ?? {})) {
    const at = `models.${id}`;
    const each = anObject.safeParse(own);
    if (!each.success) {
      problems.push(`\`${at}\` must be an object`);
      continue;
    }
    const checked = checkSet(MODEL_SETTINGS, each.data, `${at}.`);
    unknown.push(...checked.unknown);
    problems.push(...checked.problems);
    (settings.models ??= {})[id] = checked.values;
  }
  return { settings, unknown, problems };
}

function checkSet(set: OptionSet, json: Record<string, unknown>, prefix: string) {
  const values: Record<string, unknown> = {};
  const unknown: string[] = [];
  const problems: string[] = [];
  for (const [key, value] of Object.entries(json)) {
    if (!Object.hasOwn(set, key)) {
      unknown.push(prefix + key);
      continue;
    }
    const { schema, what } = set[key]?.kind as Kind<unknown>;
    const checked = schema.safeParse(value);
    if (checked.success) values[key] = checked.data;
    else problems.push(`\`${prefix}${key}\` must be ${what}`);
  }
  return { values, unknown, problems };
}

/** What holds for a model: what was typed, else the model's own settings, else those for all. */
export function engineOptionsFor(
  typed: Partial<EngineOptions>,
  settings: Settings,
  id: string,
): EngineOptions {
  const own = settings.models?.[id] ?? {};
  const chosen = Object.keys(MODEL_SETTINGS).map((key) => {
    const name = key as ModelSettingName;
    return [name, typed[name] ?? own[name] ?? settings[name] ?? null];
  });
  return { ...withNothingSaid(MODEL_SETTINGS), ...(Object.fromEntries(chosen) as EngineOptions) };
}
