// One schema: whether it can be enforced, and whether what its grammar lets through is valid, as a validator sees it
// that shares nothing with the grammar but the schema.

import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js';
import { asDraft2020 } from '../../../src/engine/grammar/drafts.js';
import { schemaGrammar } from '../../../src/engine/grammar/schema.js';
import { isObject } from '../../../src/engine/model-files.js';
import type { Bytes, Compiled } from './matcher.js';

export interface Measured {
  /** invalid: no JSON Schema at all; refused: by name; wrong: something invalid came through. */
  result: 'invalid' | 'refused' | 'enforced' | 'wrong';
  why: string;
  seconds: number;
}

/** Longest answer that is drawn, in bytes. */
const MOST = 4000;

/** A validator with the runtime's own regular expressions; null for what is no schema. */
export function validator(schema: unknown): ValidateFunction | null {
  const options = { strict: false, logger: false, validateFormats: false, multipleOfPrecision: 9 };
  for (const unicodeRegExp of [true, false]) {
    try {
      const ajv = new Ajv2020({ ...options, unicodeRegExp } as ConstructorParameters<
        typeof Ajv2020
      >[0]);
      return ajv.compile(isObject(schema) ? asDraft2020(schema) : (schema as boolean));
    } catch {
      // Tried without Unicode, then told as null.
    }
  }
  return null;
}

export async function measure(given: unknown, bytes: Bytes, draws: number): Promise<Measured> {
  const schema =
    isObject(given) && isObject(given.schema) && !('type' in given) ? given.schema : given;
  const started = performance.now();
  const done = (result: Measured['result'], why = ''): Measured => ({
    result,
    why,
    seconds: (performance.now() - started) / 1000,
  });
  const validate = validator(schema);
  if (validate === null) return done('invalid');
  const problems: string[] = [];
  const grammar = schemaGrammar(schema, 's', (path, why) => problems.push(`${path}: ${why}`));
  if (problems.length > 0) return done('refused', problems[0]);
  let compiled: Compiled;
  try {
    compiled = await bytes.compile({
      type: 'structural_tag',
      format: { type: 'grammar', grammar },
    });
  } catch (thrown) {
    return done('refused', `grammar: the library does not take it: ${String(thrown).slice(0, 80)}`);
  }
  let seed = 7;
  const draw = (count: number): number => {
    seed = (seed * 48271) % 2147483647;
    return seed % count;
  };
  for (let i = 0; i < draws; i++) {
    let text: string | null;
    try {
      text = await compiled.sample(draw, MOST);
    } catch (thrown) {
      return done('wrong', String(thrown).slice(0, 200));
    }
    if (text === null) continue;
    if (validate(JSON.parse(text))) continue;
    const [error] = validate.errors ?? [];
    // Held by the check of the whole answer.
    if (validate.errors?.every(({ keyword }) => keyword === 'uniqueItems') === true) continue;
    return done('wrong', `${text.slice(0, 200)}: ${error?.instancePath} ${error?.message}`);
  }
  return done('enforced');
}
