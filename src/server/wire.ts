// Reading a body by its schema, with a 400 that names the first field at fault.

import type * as z from 'zod';
import { badField, type ApiError } from './api-error.js';
import { isTooDeep, TOO_DEEP } from './body.js';

export function parseWith<S extends z.ZodType>(schema: S, body: unknown): z.infer<S> {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) {
    throw badField('body', 'the body must be a JSON object');
  }
  const parsed = schema.safeParse(body);
  if (!parsed.success) throw firstIssue(parsed.error);
  return parsed.data;
}

/** Fields that work only at a value that changes nothing, and what to do about names no API has. */
export function checkFields(
  body: object,
  known: object,
  only: Readonly<Record<string, (value: unknown) => boolean>>,
  harmless: ReadonlySet<string>,
  onUnknown: (field: string) => void,
): void {
  for (const [field, value] of Object.entries(body)) {
    if (value === null || value === undefined) continue;
    const allowed = Object.hasOwn(only, field) ? only[field] : undefined;
    if (allowed !== undefined && !allowed(value)) {
      throw badField(field, `${field} with the value ${brief(value)} is not supported`);
    }
    const isKnown = allowed !== undefined || Object.hasOwn(known, field);
    if (!isKnown && !harmless.has(field)) onUnknown(field);
  }
}

export function isEmpty(value: unknown): boolean {
  return typeof value === 'object' && value !== null && Object.keys(value).length === 0;
}

/** A member where there is a value, none where there is null or nothing. */
export function given<K extends string, V>(
  key: K,
  value: V | null | undefined,
): Partial<Record<K, NonNullable<V>>> {
  return value === null || value === undefined
    ? {}
    : ({ [key]: value } as Record<K, NonNullable<V>>);
}

/** Arguments of a call in a history: templates need the mapping, clients send the model's own text. */
export function callArguments(
  value: string | Record<string, unknown>,
  path: string,
): Record<string, unknown> {
  if (typeof value !== 'string') return value;
  if (value.trim() === '') return {};
  let parsed: unknown;
  try {
    parsed = JSON.parse(value);
  } catch {
    throw badField(path, `${path}: is not JSON`);
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
    throw badField(path, `${path}: must be a JSON object`);
  }
  if (isTooDeep(parsed)) throw badField(path, `${path}: ${TOO_DEEP}`);
  return parsed as Record<string, unknown>;
}

/** What stands in a conversation for something that the model can't be shown: a refusal would end it for good. */
export function placeholder(kind: string): string {
  return `[${kind} left out: this model reads text only]`;
}

/** Kinds of parts that conversations go on without; null for one that can't be left out. */
export function leftOut(type: string): string | null {
  if (/image/.test(type)) return placeholder('image');
  return /^(?:document|file|input_file)$/.test(type) ? placeholder('document') : null;
}

/** 400 in the words clients look for. */
export function unsupportedPart(type: string, path: string): ApiError {
  const kind = /image/.test(type) ? 'image' : /audio/.test(type) ? 'audio' : type;
  return badField(path, `${kind} input is not supported`);
}

function firstIssue(error: z.ZodError): ApiError {
  const issue = error.issues[0];
  const path = (issue?.path ?? []).reduce<string>((text, key) => {
    if (typeof key === 'number') return `${text}[${key}]`;
    return text === '' ? String(key) : `${text}.${String(key)}`;
  }, '');
  const param = issue?.code === 'unrecognized_keys' ? `${path}.${issue.keys[0]}` : path;
  const told = issue?.code === 'invalid_key' ? issue.issues[0]?.message : issue?.message;
  const message = issue?.code === 'unrecognized_keys' ? 'is not supported' : (told ?? '');
  return badField(param, `${param}: ${message}`);
}

function brief(value: unknown): string {
  const text = JSON.stringify(value);
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}
