// A request's JSON body, bounded.

import { ApiError } from './api-error.js';

/** @param limit bytes */
export async function readJson(request: Request, limit: number): Promise<unknown> {
  const tooLarge = (): ApiError => new ApiError(413, `the body is over ${limit} bytes`);
  if (Number(request.headers.get('content-length') ?? 0) > limit) throw tooLarge();
  const parts: Uint8Array[] = [];
  let size = 0;
  const body = request.body as AsyncIterable<Uint8Array> | null;
  try {
    for await (const part of body ?? []) {
      size += part.byteLength;
      if (size > limit) throw tooLarge();
      parts.push(part);
    }
  } catch (thrown) {
    if (thrown instanceof ApiError) throw thrown;
    throw new ApiError(400, `the body did not arrive whole: ${(thrown as Error).message}`);
  }
  const text = decodeUtf8(Buffer.concat(parts));
  const value = parsedJson(text, 'the body');
  if (isTooDeep(value)) throw new ApiError(400, `the body is ${TOO_DEEP}`);
  return value;
}

function parsedJson(text: string, what: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    throw new ApiError(400, `${what} is not JSON: ${(error as Error).message}`);
  }
}

/** Levels of JSON: far more than any client writes, and few enough for code that calls itself. */
const DEEPEST = 200;
export const TOO_DEEP = `nested too deeply: over ${DEEPEST} levels`;

/** Goes down without calling itself, because that is what too deep a value would break. */
export function isTooDeep(value: unknown): boolean {
  let level = [value];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > DEEPEST) return true;
    const next: unknown[] = [];
    for (const item of level) {
      if (typeof item !== 'object' || item === null) continue;
      for (const inner of Object.values(item)) next.push(inner);
    }
    level = next;
  }
  return false;
}

function decodeUtf8(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new ApiError(400, 'the body is not UTF-8');
  }
}
