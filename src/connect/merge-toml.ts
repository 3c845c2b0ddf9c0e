// Values set in a TOML text, line by line, so that everything else stays as it is. It knows lines, not the
// whole language: whoever calls it reads the result and compares.

import { stringify } from 'smol-toml';
import type { Settings } from './client.js';

type Table = Record<string, unknown>;

export function mergedToml(text: string, settings: Settings): string {
  const lines = text.replace(/\n$/, '').split('\n');
  for (const [name, table] of tables(settings, [])) setTable(lines, name, table);
  setKeys(lines, [0, end(lines, 0)], scalars(settings), true);
  return `${lines.join('\n')}\n`;
}

/** Every table that has values of its own, by its dotted name. */
function tables(settings: Table, path: string[]): [string, Table][] {
  return Object.entries(settings).flatMap(([key, value]): [string, Table][] => {
    if (!isTable(value)) return [];
    const name = [...path, key];
    const own = scalars(value);
    const inner = tables(value, name);
    return Object.keys(own).length === 0 ? inner : [[name.join('.'), own], ...inner];
  });
}

function setTable(lines: string[], name: string, table: Table): void {
  const header = `[${name}]`;
  const at = lines.findIndex((line) => line.replace(/#.*/, '').replace(/\s/g, '') === header);
  if (at >= 0) {
    setKeys(lines, [at + 1, end(lines, at + 1)], table, false);
    return;
  }
  lines.push('', header, ...Object.entries(table).map(([key, value]) => line(key, value)));
}

/** Of a table's lines: those of a key are replaced, new ones go where the table begins, or ends. */
function setKeys(lines: string[], [from, to]: [number, number], keys: Table, first: boolean): void {
  const added: string[] = [];
  for (const [key, value] of Object.entries(keys)) {
    const set = new RegExp(`^\\s*${key}\\s*=`);
    const at = lines.findIndex((text, i) => i >= from && i < to && set.test(text));
    if (at < 0) added.push(line(key, value));
    else lines[at] = line(key, value) + (/\s+#[^"']*$/.exec(lines[at] ?? '')?.[0] ?? '');
  }
  if (added.length === 0) return;
  let place = first ? from : to;
  while (!first && place > from && (lines[place - 1] ?? '').trim() === '') place--;
  // A title of the file stays its first lines.
  while (first && /^#/.test(lines[place] ?? '')) place++;
  lines.splice(place, 0, ...added);
}

/** The line of the next table's header. */
function end(lines: readonly string[], from: number): number {
  const at = lines.findIndex((text, i) => i >= from && /^\s*\[/.test(text));
  return at < 0 ? lines.length : at;
}

function scalars(settings: Table): Table {
  return Object.fromEntries(Object.entries(settings).filter(([, value]) => !isTable(value)));
}

function line(key: string, value: unknown): string {
  return stringify({ [key]: value }).trimEnd();
}

function isTable(value: unknown): value is Table {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
