// How a model is opened and served: options of `serve` and `run`, keys of settings.json, and the same keys for one model.
// Whatever is added to `engineOptions` is a flag of both commands and a key that settings.json knows for all models and for each.

import { BACKENDS } from '../engine/backend.js';
import { LOG_LEVELS } from '../server/log-level.js';
import { byteCount, numberFrom, oneOf, text, wholeNumberFrom } from './kinds.js';
import { option, toggle, type Values } from './option.js';

/** Some ten long prompts of the largest model. */
export const DEFAULT_PROMPT_CACHE_GB = 8;

const SAMPLED = 'as the model wants it';

/** What answers: docs/performance.md has what it costs and brings. `logits` and `calibrate` compute exactly. */
export const SERVED_ARITHMETIC = 'fast';

export const engineOptions = {
  backend: option('--backend <name>', 'compute on', oneOf(BACKENDS), 'metal on a Mac, else cpu'),
  directReads: toggle('--direct-reads', 'read experts past the page cache'),
  memory: option(
    '--memory <size>',
    'memory for all of it, 24GB for example',
    byteCount,
    'seven tenths of the machine, or all but 16 GiB',
  ),
  arithmetic: option(
    '--arithmetic <kind>',
    'how the CPU multiplies: fast rounds what it multiplies to 8 bits',
    oneOf(['exact', 'fast']),
    SERVED_ARITHMETIC,
  ),
  context: option(
    '--context <tokens>',
    'tokens of prompt and answer together',
    wholeNumberFrom(64, 16_777_216),
    "the model's limit, or what memory allows",
  ),
  experts: option(
    '--experts <n>',
    'experts for each token, at most as many as the model has been made with',
    wholeNumberFrom(1, 1024),
    'as the model was made',
  ),
  expertMass: option(
    '--expert-mass <share>',
    "compute only the experts that carry this share of a token's weight",
    numberFrom(0.05, 1),
    '1',
  ),
  temperature: option('--temperature <t>', '0 for greedy', numberFrom(0, 5), SAMPLED),
  topP: option(
    '--top-p <p>',
    'the likeliest tokens that have this share',
    numberFrom(0.0001, 1),
    SAMPLED,
  ),
  topK: option(
    '--top-k <n>',
    'the n likeliest tokens, 0 for all',
    wholeNumberFrom(0, 2 ** 31 - 1),
    SAMPLED,
  ),
  minP: option(
    '--min-p <p>',
    'tokens with this share of the likeliest one',
    numberFrom(0, 1),
    SAMPLED,
  ),
  repetitionPenalty: option(
    '--repetition-penalty <x>',
    'against tokens that were there already, 1 for none',
    numberFrom(0.01, 10),
    SAMPLED,
  ),
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

export const DEFAULT_KEEP_ALIVE_MINUTES = 30;

export const keepAliveOption = option(
  '--keep-alive <minutes>',
  'how long a model stays in memory after its last request, 0 for not at all',
  numberFrom(0, 525_600, 'of minutes '),
  String(DEFAULT_KEEP_ALIVE_MINUTES),
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
  keepAlive: keepAliveOption,
  logLevel: option(
    '--log-level <level>',
    'what is told: errors, refusals too, answers too, or all',
    oneOf(LOG_LEVELS),
    'info',
  ),
};

export type ServeOptions = Values<typeof serveOptions>;

/** Beside the server's own. */
export const SHARE_PORT = 11436;

export const shareOptions = {
  host: option('--host <address>', 'address to listen on', text, '127.0.0.1'),
  port: { ...portOption, fallback: String(SHARE_PORT) },
};

export type ShareOptions = Values<typeof shareOptions>;

export const installOptions = {
  dryRun: toggle('--dry-run', 'print the definition file, change nothing'),
  onDemand: toggle('--on-demand', 'not at login: `flashmoe service start` starts it'),
  backend: engineOptions.backend,
};

const tokens = wholeNumberFrom(0, 999_999_999_999_999);

export const runOptions = {
  model: modelOption,
  ...engineOptions,
  system: option('--system <text>', 'a system message before the prompt', text),
  maxTokens: option('--max-tokens <n>', 'end after so many tokens', tokens),
  seed: option('--seed <n>', 'same seed, same answer', tokens),
};

export type RunOptions = Values<typeof runOptions>;
