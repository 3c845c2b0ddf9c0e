// Reads the small JSON and text files of a model folder with a size limit, so that a damaged or
// foreign folder ends in an error that names the file.

import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { FlashmoeError } from '../base/errors.js';

/** Bytes. tokenizer.json of a 250k vocabulary is about 20 MB; nothing read here is near this. */
const LIMIT = 256 * 2 ** 20;

/** The small files of a model that lies nowhere yet, as they were read from elsewhere: text by name. */
export interface GivenFiles {
  /** Stands in messages where a folder would. */
  label: string;
  texts: Readonly<Record<string, string>>;
}

/** A model's folder, or its small files themselves. */
export type ModelFiles = string | GivenFiles;

/** As messages call one of the files. */
export function nameOf(files: ModelFiles, name: string): string {
  return typeof files === 'string' ? join(files, name) : `${files.label}/${name}`;
}

/** A file's text, or null when it isn't there. */
export async function readText(files: ModelFiles, name: string): Promise<string | null> {
  if (typeof files !== 'string') {
    return Object.hasOwn(files.texts, name) ? (files.texts[name] ?? null) : null;
  }
  const path = join(files, name);
  try {
    const { size } = await stat(path);
    if (size > LIMIT) {
      throw new FlashmoeError('ERR_MODEL_DAMAGED', `${path}: ${size} bytes is over ${LIMIT}`);
    }
    return await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

export type JsonObject = Record<string, unknown>;

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A JSON object, or null when the file isn't there. ERR_MODEL_DAMAGED when it is anything else. */
export async function readJsonObject(files: ModelFiles, name: string): Promise<JsonObject | null> {
  const text = await readText(files, name);
  if (text === null) return null;
  try {
    const value: unknown = JSON.parse(text);
    if (isObject(value)) return value;
  } catch (cause) {
    throw new FlashmoeError('ERR_MODEL_DAMAGED', `${nameOf(files, name)}: not JSON`, {
      subject: name,
      cause,
    });
  }
  throw new FlashmoeError('ERR_MODEL_DAMAGED', `${nameOf(files, name)}: not a JSON object`, {
    subject: name,
  });
}
