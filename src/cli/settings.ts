// settings.json below the home: what the user chose once. The service file stays constant because the
// server reads its model and port here.

import { readFile } from 'node:fs/promises';
import { writeFileAtomic } from '../base/atomic-file.js';
import type { BackendName } from '../addon/types.js';
import { FlashmoeError } from '../base/errors.js';
import { isBackend } from '../engine/backend.js';
import { QUANTS, type Quant } from '../models/quant.js';

export interface Settings {
  /** Model that `serve` and `run` take when none is named. */
  model?: string;
  quant?: Quant;
  port?: number;
  /** The other server of two tiers, and its model. */
  fastUpstream?: string;
  fastModel?: string;
  /** GB of disk for states of prompts; 0 = none are kept. */
  promptCacheGB?: number;
  /** What the engine computes on; absent: the machine decides. */
  backend?: BackendName;
  /** Experts are read past the page cache. */
  directReads?: boolean;
}

/** Some ten long prompts of the largest model. */
export const DEFAULT_PROMPT_CACHE_GB = 8;

/** {} when there is no file; ERR_HOME when there is one that can't be understood. */
export async function readSettings(path: string): Promise<Settings> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return {};
    throw error;
  }
  const bad = (what: string): FlashmoeError =>
    new FlashmoeError('ERR_HOME', `${path}: ${what}; the file was left as it is`, {
      hint: `correct it, or remove it to go back to the defaults`,
      subject: path,
    });
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw bad('not JSON');
  }
  if (typeof value !== 'object' || value === null) throw bad('not an object');
  const { model, quant, port, backend, promptCacheGB } = value as Record<string, unknown>;
  const { fastUpstream, fastModel, directReads } = value as Record<string, unknown>;
  if (model !== undefined && typeof model !== 'string') throw bad('`model` is not a text');
  if (quant !== undefined && !isQuant(quant)) {
    throw bad(`\`quant\` is none of ${QUANTS.join(', ')}`);
  }
  if (port !== undefined && !isPort(port)) throw bad('`port` is not a number from 1 to 65535');
  for (const [name, text] of Object.entries({ fastUpstream, fastModel })) {
    if (text !== undefined && typeof text !== 'string') throw bad(`\`${name}\` is not a text`);
  }
  if (promptCacheGB !== undefined && !isGigabytes(promptCacheGB)) {
    throw bad('`promptCacheGB` is not a number from 0 to 100000');
  }
  if (backend !== undefined && !isBackend(backend)) throw bad('`backend` is neither cpu nor metal');
  if (directReads !== undefined && typeof directReads !== 'boolean') {
    throw bad('`directReads` is neither true nor false');
  }
  return {
    ...(directReads === undefined ? {} : { directReads }),
    ...(typeof fastUpstream === 'string' ? { fastUpstream } : {}),
    ...(typeof fastModel === 'string' ? { fastModel } : {}),
    ...(model === undefined ? {} : { model }),
    ...(quant === undefined ? {} : { quant }),
    ...(port === undefined ? {} : { port }),
    ...(promptCacheGB === undefined ? {} : { promptCacheGB }),
    ...(backend === undefined ? {} : { backend }),
  };
}

function isQuant(value: unknown): value is Quant {
  return QUANTS.some((quant) => quant === value);
}

/** Keeps what `change` doesn't name. */
export async function changeSettings(path: string, change: Settings): Promise<void> {
  const settings = { ...(await readSettings(path)), ...change };
  await writeFileAtomic(path, `${JSON.stringify(settings, null, 2)}\n`);
}

export function isPort(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 1 && (value as number) <= 65_535;
}

export function isGigabytes(value: unknown): value is number {
  return typeof value === 'number' && value >= 0 && value <= 100_000;
}
