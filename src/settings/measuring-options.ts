// What the commands that measure a model may be asked for: bench, eval, logits and calibrate.

import { BACKENDS } from '../engine/backend.js';
import { QUANTS } from '../models/quant.js';
import { listOf, oneOf, path, text, wholeNumberFrom } from './kinds.js';
import { option, required, toggle, type Values } from './option.js';

const count = wholeNumberFrom(1, 999_999_999_999_999);

const backend = option(
  '--backend <name>',
  'compute on',
  oneOf(BACKENDS),
  'metal on a Mac, else cpu',
);
const quant = option('--quant <bits>', 'of the experts', oneOf(QUANTS), '4bit');
const experts = option(
  '--experts <count>',
  'experts per token, fewer than the model was made for',
  count,
);

export const benchOptions = {
  prompt: option('--prompt <tokens>', 'length of the prompt', count, '512'),
  decode: option('--decode <tokens>', 'tokens after it', count, '64'),
  threads: option('--threads <count>', 'of arithmetic', count, 'all cores'),
  experts,
  quant,
  backend,
  directReads: toggle('--direct-reads', 'read experts past the page cache'),
};

export const evalOptions = {
  skills: option('--skills <names...>', 'some of the skills', listOf(text), 'all'),
  experts,
  quant,
  backend,
  limit: option('--limit <count>', 'so many prompts of each skill', count),
  prompts: option(
    '--prompts <folder>',
    'other prompts: one JSON object a line, one file a skill',
    path,
  ),
};

export const logitsOptions = {
  tokens: required(
    option('--tokens <file.json>', 'token ids: an array, or an object with input_ids', path),
  ),
  out: required(
    option('--out <file>', 'safetensors with the tensor logits [positions, vocab] F32', path),
  ),
  experts,
  quant: option(
    '--quant <bits>',
    'of the experts; a folder is packed so',
    oneOf(['q4', 'q2']),
    'q4',
  ),
  cache: option(
    '--cache <type>',
    'of attention: f32 is for comparing, and needs the CPU',
    oneOf(['16bit', 'f32']),
    '16bit',
  ),
  backend,
};

/** Sixteen pieces: each reads every expert that it chooses once. */
export const CALIBRATION_TOKENS = 16_384;

export const calibrateOptions = {
  text: required(
    option(
      '--text <files...>',
      'what the model is used for: text, or *.jsonl of chats',
      listOf(path),
    ),
  ),
  out: option('--out <file>', 'write there', path, 'MODEL.calibration.safetensors'),
  tokens: option('--tokens <count>', 'of the texts, at most', count, String(CALIBRATION_TOKENS)),
  quant: { ...quant, about: 'which of the installed widths sees the text' },
  backend,
};

export type BenchOptions = Values<typeof benchOptions>;
export type EvalOptions = Values<typeof evalOptions>;
export type LogitsOptions = Values<typeof logitsOptions>;
export type CalibrateOptions = Values<typeof calibrateOptions>;
