// Text files in a message: `@path` at the beginning of a word puts the file's text behind what was written.

import { readFile, stat } from 'node:fs/promises';
import { basename, resolve } from 'node:path';
import { FlashmoeError } from '../base/errors.js';
import { formatBytes } from '../base/format.js';

/** More than a model of today reads in an evening. */
const LARGEST_BYTES = 4 << 20;

export interface Places {
  folder: string;
  homeDirectory: string;
}

export interface Attached {
  /** What the model gets. */
  text: string;
  /** Names of the files, as they were written. */
  files: string[];
}

/** ERR_USAGE naming the file that is not there, not text, or too large; then nothing is sent. */
export async function attachFiles(message: string, places: Places): Promise<Attached> {
  const names = [...message.matchAll(/(?:^|\s)@(?:"([^"\n]+)"|(\S+))/g)].map(
    ([, quoted, word]) => quoted ?? word ?? '',
  );
  const files: string[] = [];
  let text = message;
  for (const name of new Set(names)) {
    const content = await readText(name, places);
    // An address of a person, @name, is no file: only what looks like a path must be one.
    if (content === null) continue;
    files.push(name);
    const fence = '`'.repeat(longestFence(content) + 1);
    text += `\n\n${basename(name)}:\n${fence}\n${content.replace(/\n$/, '')}\n${fence}`;
  }
  return { text, files };
}

async function readText(name: string, { folder, homeDirectory }: Places): Promise<string | null> {
  const path = name.startsWith('~/')
    ? resolve(homeDirectory, name.slice(2))
    : resolve(folder, name);
  const facts = await stat(path).catch(() => null);
  if (facts === null) {
    if (!/[./]/.test(name)) return null;
    throw new FlashmoeError('ERR_USAGE', `@${name}: there is no such file; nothing was sent`);
  }
  if (!facts.isFile()) {
    throw new FlashmoeError('ERR_USAGE', `@${name} is no file; nothing was sent`);
  }
  if (facts.size > LARGEST_BYTES) {
    throw new FlashmoeError(
      'ERR_USAGE',
      `@${name} has ${formatBytes(facts.size)}, the most is ${formatBytes(LARGEST_BYTES)}; nothing was sent`,
    );
  }
  const bytes = await readFile(path);
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    if (!text.includes('\0')) return text;
  } catch {
    // Not UTF-8: said below.
  }
  throw new FlashmoeError('ERR_USAGE', `@${name} is no text file; nothing was sent`);
}

/** At least 2, so that a fence has three backticks or more. */
function longestFence(text: string): number {
  return Math.max(2, ...[...text.matchAll(/`{3,}/g)].map(([ticks]) => ticks.length));
}
