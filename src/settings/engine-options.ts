// How a model is opened and served: options of `serve` and `run`, keys of settings.json, and the same keys for one model.
// Whatever is added to `engineOptions` is a flag of both commands and a key that settings.json knows for all models and for each.

import { BACKENDS } from '../engine/backend.js';
import { LOG_LEVELS } from '../server/log-level.js';
import { numberFrom, oneOf, text, wholeNumberFrom } from './kinds.js';
import { option, toggle, type Values } from './option.js';

/** Some ten long prompts of the largest model. */
export const DEFAULT_PROMPT_CACHE_GB = 8;

export const engineOptions = {
  backend: option('--backend <name>', 'compute on', oneOf(BACKENDS), 'metal on a Mac, else cpu'),
  directReads: toggle('--direct-reads', 'read experts past the page cache'),
};

export type EngineOptions = Values<typeof engineOptions>;

/** Any free port may be asked for where one types, not in a file that says where the server is. */
export const portOption = option(
  '--port <port>',
  'port, 0 for any free one',
  wholeNumberFrom(0, 65_535),
  '11435',
);

export const promptCacheOption = option(
  '--prompt-cache <GB>',
  'disk for prompts that were read, 0 for none',
  numberFrom(0, 100_000, 'of GB '),
  String(DEFAULT_PROMPT_CACHE_GB),
);

export const fastTierOptions = {
  fastUpstream: option(
    '--fast-upstream <url>',
    'an OpenAI endpoint for quick work, e.g. of Ollama',
    text,
  ),
  fastModel: option('--fast-model <name>', 'its model', text, 'the first it lists'),
};

export const modelOption = option('--model <name>', 'a name of `flashmoe status`', text);

export const serveOptions = {
  model: modelOption,
  ...engineOptions,
  host: option(
    '--host <address>',
    'address to listen on; any but loopback needs FLASHMOE_API_KEY',
    text,
  ),
  port: portOption,
  ...fastTierOptions,
  promptCache: promptCacheOption,
  logLevel: option(
    '--log-level <level>',
    'what is told: errors, refusals too, answers too, or all',
    oneOf(LOG_LEVELS),
    'info',
  ),
};

export type ServeOptions = Values<typeof serveOptions>;

const temperature = numberFrom(0, 5);
const tokens = wholeNumberFrom(0, 999_999_999_999_999);

export const runOptions = {
  model: modelOption,
  ...engineOptions,
  system: option('--system <text>', 'a system message before the prompt', text),
  maxTokens: option('--max-tokens <n>', 'end after so many tokens', tokens),
  temperature: option('--temperature <t>', '0 for greedy', temperature),
  seed: option('--seed <n>', 'same seed, same answer', tokens),
};

export type RunOptions = Values<typeof runOptions>;
