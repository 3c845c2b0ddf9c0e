// Our settings merged into a client's file, which stays the user's: what we don't name keeps its value, its
// place and its comments. A file that can't be kept so is refused, and left as it is. Pure: text in, text out.

import { isDeepStrictEqual } from 'node:util';
import * as jsonc from 'jsonc-parser';
import { parse as parseToml, stringify as tomlOf } from 'smol-toml';
import { parseDocument, stringify as yamlOf, isSeq, type Document } from 'yaml';
import { FlashmoeError } from '../base/errors.js';
import type { Format, Settings } from './client.js';
import { mergedToml } from './merge-toml.js';

/** The settings alone, as a person would paste them. */
export function snippet(format: Format, settings: Settings): string {
  switch (format) {
    case 'json':
      return `${JSON.stringify(settings, null, 2)}\n`;
    case 'toml':
      return tomlOf(settings);
    case 'yaml':
      return yamlOf(settings);
  }
}

/**
 * @param text null where there is no file yet
 * @param path for messages
 * @returns the whole file; ERR_CLIENT_CONFIG when it can't be read, or not be kept as it is
 */
export function merged(
  format: Format,
  text: string | null,
  settings: Settings,
  path: string,
): string {
  if (text === null || text.trim() === '') return snippet(format, settings);
  const refuse = (why: string): never => {
    throw new FlashmoeError('ERR_CLIENT_CONFIG', `${path}: ${why}; the file was left as it is`, {
      hint: 'add what `--dry-run` prints by hand',
      subject: path,
    });
  };
  switch (format) {
    case 'json':
      return mergedJson(text, settings, refuse);
    case 'toml': {
      const result = mergedToml(text, settings);
      const before = read(() => parseToml(text), refuse);
      const after = read(() => parseToml(result), refuse);
      if (!isDeepStrictEqual(plain(after), plain(deepMerge(before, settings)))) {
        refuse('it is laid out in a way that cannot be changed safely');
      }
      return result;
    }
    case 'yaml':
      return mergedYaml(text, settings, refuse);
  }
}

/** Without the prototypes of whoever made it. */
function plain(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value)) as unknown;
}

type Refuse = (why: string) => never;

/** Objects member by member, lists of things with an id thing by thing; everything else is replaced. */
export function deepMerge(base: unknown, over: unknown): unknown {
  if (isListOfThings(base) && isListOfThings(over)) return mergedThings(base, over);
  if (!isObject(base) || !isObject(over)) return over;
  const result: Record<string, unknown> = { ...base };
  for (const [key, value] of Object.entries(over)) {
    result[key] = Object.hasOwn(base, key) ? deepMerge(base[key], value) : value;
  }
  return result;
}

interface Thing {
  id: string;
}

function isListOfThings(value: unknown): value is Thing[] {
  return Array.isArray(value) && value.every((one) => isObject(one) && typeof one.id === 'string');
}

/** Things replace those of their id; the others stay. */
function mergedThings(base: readonly Thing[], over: readonly Thing[]): Thing[] {
  const stay = base.map((one) => over.find(({ id }) => id === one.id) ?? one);
  return [...stay, ...over.filter(({ id }) => !base.some((one) => one.id === id))];
}

/** Comments and commas behind the last member are kept, as the clients that read them do. */
function mergedJson(text: string, settings: Settings, refuse: Refuse): string {
  const errors: jsonc.ParseError[] = [];
  const parsed = jsonc.parse(text, errors, { allowTrailingComma: true }) as unknown;
  const [error] = errors;
  if (error !== undefined) {
    refuse(`it is no JSON (${jsonc.printParseErrorCode(error.error)} at ${error.offset})`);
  }
  if (!isObject(parsed)) return refuse('it holds no object');
  const indent = /^\s*\{\r?\n([ \t]+)/.exec(text)?.[1] ?? '  ';
  const formattingOptions = {
    insertSpaces: !indent.startsWith('\t'),
    tabSize: indent.length,
    eol: text.includes('\r\n') ? '\r\n' : '\n',
  };
  const wanted = deepMerge(parsed, settings);
  let result = text;
  for (const [path, value] of changes(parsed, wanted, [])) {
    result = jsonc.applyEdits(result, jsonc.modify(result, path, value, { formattingOptions }));
  }
  const after = jsonc.parse(result, [], { allowTrailingComma: true }) as unknown;
  if (!isDeepStrictEqual(plain(after), plain(wanted))) {
    refuse('it is laid out in a way that cannot be changed safely');
  }
  return result;
}

/** Members that differ, as high up as nothing else is in them. */
function changes(before: unknown, after: unknown, path: string[]): [string[], unknown][] {
  if (isDeepStrictEqual(before, after)) return [];
  if (!isObject(before) || !isObject(after)) return [[path, after]];
  return Object.entries(after).flatMap(([key, value]) =>
    changes(Object.hasOwn(before, key) ? before[key] : undefined, value, [...path, key]),
  );
}

function mergedYaml(text: string, settings: Settings, refuse: Refuse): string {
  const document = parseDocument(text);
  const [error] = document.errors;
  if (error !== undefined) return refuse(`it is no YAML: ${error.message.split('\n')[0] ?? ''}`);
  if (!isObject(document.toJS())) return refuse('it holds no mapping');
  for (const [key, value] of Object.entries(settings)) {
    if (Array.isArray(value)) mergeList(document, key, value as Named[]);
    // The name and version of a file are its owner's.
    else if (!document.has(key)) document.set(key, value);
  }
  return document.toString({ lineWidth: 0 });
}

interface Named {
  name: string;
}

/** Entries replace those of their name; the others stay. */
function mergeList(document: Document, key: string, entries: Named[]): void {
  const list = document.get(key);
  if (!isSeq(list)) {
    document.set(key, document.createNode(entries));
    return;
  }
  const names = (list.toJS(document) as unknown[]).map((one) => (isObject(one) ? one.name : null));
  for (const entry of entries) {
    const node = document.createNode(entry);
    const at = names.indexOf(entry.name);
    if (at < 0) list.add(node);
    else list.set(at, node);
  }
}

function read<T>(parse: () => T, refuse: Refuse): T {
  try {
    return parse();
  } catch (error) {
    return refuse(`it cannot be read: ${(error as Error).message.split('\n')[0] ?? ''}`);
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
