// config.json as checked fields. Every refusal names the field, its value and what is supported, because
// the file comes from the network and a dropped field is a wrong answer later.

import { FlashmoeError } from '../base/errors.js';

/** The engine's own limit on a dimension. Real models stay far below; products of such sizes stay exact. */
const MAX_INT = 2 ** 20;

type Scalar = string | number | boolean | null;

/** `field` as written in config.json, dots for nesting. */
export function unsupported(field: string, value: unknown, supported: string): FlashmoeError {
  const shown = value === undefined ? 'absent' : JSON.stringify(value);
  return new FlashmoeError(
    'ERR_UNSUPPORTED_MODEL',
    `config.json: ${field} = ${shown} is not supported; supported: ${supported}`,
    { subject: field, hint: 'run `flashmoe models` to see the models that are known to work' },
  );
}

export class Config {
  private constructor(
    private readonly fields: Readonly<Record<string, unknown>>,
    private readonly path: string,
  ) {}

  /** Throws ERR_UNSUPPORTED_MODEL when `json` is no object. */
  static of(json: unknown): Config {
    if (!isRecord(json)) throw unsupported('(root)', typeof json, 'a JSON object');
    return new Config(json, '');
  }

  /** Field name with its path, for messages. */
  name(field: string): string {
    return this.path + field;
  }

  keys(): string[] {
    return Object.keys(this.fields);
  }

  raw(field: string): unknown {
    return Object.hasOwn(this.fields, field) ? this.fields[field] : undefined;
  }

  /** Absent and null are the same to every reader of these files. */
  has(field: string): boolean {
    const value = this.raw(field);
    return value !== undefined && value !== null;
  }

  object(field: string): Config | null {
    if (!this.has(field)) return null;
    const value = this.raw(field);
    if (!isRecord(value)) throw unsupported(this.name(field), value, 'an object');
    return new Config(value, `${this.name(field)}.`);
  }

  int(field: string, range: { min?: number; max?: number; fallback?: number } = {}): number {
    const min = range.min ?? 1;
    const max = range.max ?? MAX_INT;
    const value = this.has(field) ? this.raw(field) : range.fallback;
    if (!Number.isInteger(value) || (value as number) < min || (value as number) > max) {
      throw unsupported(this.name(field), value, `an integer from ${min} to ${max}`);
    }
    return value as number;
  }

  /** A finite number greater than zero unless `min` says otherwise. */
  number(field: string, range: { min?: number; fallback?: number } = {}): number {
    const value = this.has(field) ? this.raw(field) : range.fallback;
    const ok =
      typeof value === 'number' &&
      Number.isFinite(value) &&
      (range.min === undefined ? value > 0 : value >= range.min);
    if (!ok) throw unsupported(this.name(field), value, 'a positive number');
    return value;
  }

  bool(field: string, fallback?: boolean): boolean {
    const value = this.has(field) ? this.raw(field) : fallback;
    if (typeof value !== 'boolean') throw unsupported(this.name(field), value, 'true or false');
    return value;
  }

  string(field: string, fallback?: string): string {
    const value = this.has(field) ? this.raw(field) : fallback;
    if (typeof value !== 'string') throw unsupported(this.name(field), value, 'a string');
    return value;
  }

  strings(field: string): string[] | null {
    if (!this.has(field)) return null;
    const value = this.raw(field);
    if (!Array.isArray(value) || !value.every((item) => typeof item === 'string')) {
      throw unsupported(this.name(field), value, 'a list of strings');
    }
    return value;
  }

  ints(field: string): number[] {
    const value = this.has(field) ? this.raw(field) : [];
    if (!Array.isArray(value) || !value.every((item) => Number.isInteger(item))) {
      throw unsupported(this.name(field), value, 'a list of integers');
    }
    return value as number[];
  }

  /** The field is absent, null or one of `allowed`; for what the engine does in one way only. */
  only(field: string, ...allowed: Scalar[]): void {
    const value = this.raw(field);
    if (value === undefined || value === null || allowed.includes(value as Scalar)) return;
    throw unsupported(this.name(field), value, allowed.map((v) => JSON.stringify(v)).join(', '));
  }
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
