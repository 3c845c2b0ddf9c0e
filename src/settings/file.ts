// The file itself: read and checked, changed key by key, never written over when it can't be understood.

import { readFile } from 'node:fs/promises';
import { writeFileAtomic } from '../base/atomic-file.js';
import { FlashmoeError } from '../base/errors.js';
import type { CheckedSettings, Settings } from './schema.js';

/** What holds; ERR_HOME for a file that can't be understood, with everything that is wrong. */
export async function readSettings(path: string): Promise<Settings> {
  const { settings, problems } = await inspectSettings(path);
  if (problems.length > 0) throw broken(path, problems.join('; '));
  return settings;
}

/** As readSettings, with the faults beside what can be used. Throws only what reading the file throws. */
export async function inspectSettings(path: string): Promise<CheckedSettings> {
  const text = await readText(path);
  if (text === null) return { settings: {}, unknown: [], problems: [] };
  // Loaded where there is something to check: a command that finds no settings starts sooner.
  const { checkSettings } = await import('./schema.js');
  try {
    return checkSettings(JSON.parse(text));
  } catch {
    return { settings: {}, unknown: [], problems: ['not JSON'] };
  }
}

/** null removes a key. What `change` doesn't name is kept, keys of other versions included. Throws ERR_HOME. */
export async function changeSettings(
  path: string,
  change: { [Name in keyof Settings]?: Settings[Name] | null },
  model: string | null = null,
): Promise<void> {
  const whole = await readObject(path);
  const target = model === null ? whole : ownSettings(path, whole, model);
  for (const [key, value] of Object.entries(change)) {
    if (value === null) delete target[key];
    else target[key] = value;
  }
  const { checkSettings } = await import('./schema.js');
  // One of the other keys may be wrong: only what is written now must not be.
  const before = checkSettings(await readObject(path)).problems;
  const wrong = checkSettings(whole).problems.filter((problem) => !before.includes(problem));
  if (wrong.length > 0) throw broken(path, wrong.join('; '));
  await writeFileAtomic(path, `${JSON.stringify(whole, null, 2)}\n`);
}

function ownSettings(
  path: string,
  whole: Record<string, unknown>,
  model: string,
): Record<string, unknown> {
  const models = (whole['models'] ??= {});
  if (!isObject(models)) throw broken(path, '`models` must be an object with a key for each model');
  const own = Object.hasOwn(models, model) ? models[model] : (models[model] = {});
  if (!isObject(own)) throw broken(path, `\`models.${model}\` must be an object`);
  return own;
}

async function readObject(path: string): Promise<Record<string, unknown>> {
  const text = await readText(path);
  let json: unknown = {};
  try {
    if (text !== null) json = JSON.parse(text);
  } catch {
    throw broken(path, 'not JSON');
  }
  if (!isObject(json)) throw broken(path, 'not a JSON object');
  return json;
}

async function readText(path: string): Promise<string | null> {
  return readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null;
    throw error;
  });
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function broken(path: string, what: string): FlashmoeError {
  return new FlashmoeError('ERR_HOME', `${path}: ${what}; the file was left as it is`, {
    hint: '`flashmoe config list` shows what is set, `flashmoe config set` corrects a key',
    subject: path,
  });
}
