// docs/events.md from the schema.

import * as z from 'zod';
import { installEvent } from './event-schema.js';

interface JsonSchema {
  type?: string;
  const?: unknown;
  enum?: unknown[];
  anyOf?: JsonSchema[];
  oneOf?: JsonSchema[];
  items?: JsonSchema;
  properties?: Record<string, JsonSchema>;
  required?: string[];
  description?: string;
}

export function eventsPage(): string {
  const { oneOf, anyOf } = z.toJSONSchema(installEvent, { unrepresentable: 'any' }) as JsonSchema;
  const events = oneOf ?? anyOf ?? [];
  return `# Events of a run

<!-- Made by \`node tools/pages.mjs\` from src/jobs/event-schema.ts. -->

With \`--json\` stdout is NDJSON: one object a line, \`v\` (1), \`t\` (ISO 8601 with milliseconds, UTC), \`event\`, and the fields below. The
last line is the result. New fields and new events may appear with the same \`v\`; a reader passes over what it doesn't know.
\`progress\` and \`disk\` carry absolute numbers and may be left out; nothing else is.

${events.map(section).join('\n\n')}
`;
}

function section({ properties = {}, required = [], description = '' }: JsonSchema): string {
  const { type, ...fields } = properties;
  const rows = Object.entries(fields).map(([name, field]) => {
    const always = required.includes(name) ? '' : ', or absent';
    return `| \`${name}\` | ${kind(field)}${always} | ${field.description ?? ''} |`;
  });
  const table =
    rows.length === 0 ? '' : `\n\n| field | is | |\n| --- | --- | --- |\n${rows.join('\n')}`;
  return `## ${String(type?.const)}\n\n${description}.${table}`;
}

function kind({ type, const: only, enum: some, anyOf, items, properties }: JsonSchema): string {
  if (only !== undefined) return `\`${JSON.stringify(only)}\``;
  if (some !== undefined) return some.map((value) => `\`${String(value)}\``).join(', ');
  if (anyOf !== undefined) return anyOf.map(kind).join(' or ');
  if (type === 'array') return `list of ${items === undefined ? 'anything' : kind(items)}`;
  if (properties !== undefined) return `object of ${Object.keys(properties).join(', ')}`;
  return type ?? 'anything';
}
