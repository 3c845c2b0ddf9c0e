// Metadata of a GGUF file as checked fields. Every refusal names the key and its value: the file comes from the network, and a
// number that is dropped is a wrong answer later.

import { FlashmoeError } from '../../base/errors.js';

/** An array that nobody has looked into yet; null where its elements are of another kind. */
export interface GgufList {
  readonly length: number;
  texts(): string[] | null;
  /** Of any width; true and false are 1 and 0. */
  numbers(): number[] | null;
}

export type GgufValue = string | number | boolean | GgufList;

/** `key = value is not supported`, as config.json's fields are refused. */
export function unsupportedKey(key: string, value: unknown, supported: string): FlashmoeError {
  const text = typeof value === 'object' ? 'a list' : JSON.stringify(value)?.slice(0, 200);
  return new FlashmoeError(
    'ERR_UNSUPPORTED_MODEL',
    `the GGUF file's ${key} = ${text ?? 'absent'} is not supported; supported: ${supported}`,
    { subject: key, hint: 'choose an MLX conversion of the model, or the repository of its authors' },
  );
}

export class GgufMetadata {
  constructor(private readonly values: ReadonlyMap<string, GgufValue>) {}

  /** What keys of the model's own begin with. */
  get architecture(): string {
    return this.text('general.architecture');
  }

  /** `name` behind the architecture. */
  own(name: string): string {
    return `${this.architecture}.${name}`;
  }

  has(key: string): boolean {
    return this.values.has(key);
  }

  raw(key: string): GgufValue | undefined {
    return this.values.get(key);
  }

  text(key: string, fallback?: string): string {
    const value = this.values.get(key) ?? fallback;
    if (typeof value !== 'string') throw unsupportedKey(key, value, 'a text');
    return value;
  }

  flag(key: string, fallback?: boolean): boolean {
    const value = this.values.get(key) ?? fallback;
    if (typeof value !== 'boolean') throw unsupportedKey(key, value, 'true or false');
    return value;
  }

  /** A whole number from 0 to 2^53. */
  whole(key: string, fallback?: number): number {
    const value = this.values.get(key) ?? fallback;
    if (!Number.isSafeInteger(value) || (value as number) < 0) {
      throw unsupportedKey(key, value, 'a whole number');
    }
    return value as number;
  }

  number(key: string, fallback?: number): number {
    const value = this.values.get(key) ?? fallback;
    if (typeof value !== 'number' || !Number.isFinite(value)) {
      throw unsupportedKey(key, value, 'a number');
    }
    return value;
  }

  /** One number, or a list of `count` numbers that are all the same: some writers give every layer its own. */
  same(key: string, count: number, fallback?: number): number {
    const numbers = this.each(key, count, fallback);
    const [first = 0] = numbers;
    if (numbers.every((each) => each === first)) return first;
    throw unsupportedKey(key, `[${[...new Set(numbers)].join(', ')}]`, 'one number for all layers');
  }

  /** A number for each of `count` layers: a list of them, or one for all. */
  each(key: string, count: number, fallback?: number): number[] {
    const value = this.values.get(key);
    if (typeof value !== 'object') {
      return Array.from({ length: count }, () => this.whole(key, fallback));
    }
    const numbers = value.numbers();
    const isWhole = numbers?.every((each) => Number.isSafeInteger(each) && each >= 0) === true;
    if (isWhole && numbers.length === count) return numbers;
    throw unsupportedKey(key, value, `whole numbers for ${count} layers`);
  }

  /** null where the key is missing. */
  texts(key: string): string[] | null {
    const value = this.values.get(key);
    if (value === undefined) return null;
    const texts = typeof value === 'object' ? value.texts() : null;
    if (texts === null) throw unsupportedKey(key, value, 'a list of texts');
    return texts;
  }

  /** null where the key is missing. */
  numbers(key: string): number[] | null {
    const value = this.values.get(key);
    if (value === undefined) return null;
    const numbers = typeof value === 'object' ? value.numbers() : null;
    if (numbers === null) throw unsupportedKey(key, value, 'a list of numbers');
    return numbers;
  }
}
