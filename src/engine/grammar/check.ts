// Whether a finished answer is what its schema says: asked of a validator that knows nothing of grammars, so that neither
// a fault in those nor what they can't hold, such as items that differ, goes out as an answer that is done. A schema is
// somebody else's program: its validator is made and run in the thread of the answer's grammar, which has a limit on its time.

import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js';
import { FlashmoeError } from '../../base/errors.js';
import { argumentsSchema } from './arguments.js';
import { asDraft2020 } from './drafts.js';
import { linearRegExp } from './linear-regexp.js';
import type { Said } from './said.js';
import type { Held } from './tags.js';

/** What is wrong with an answer, in a sentence; null for one that is what was asked for. */
export type AnswerValidator = (said: Said) => string | null;

/** Null where no schema is held. ERR_GRAMMAR for what is no schema. */
export function answerValidator({ format, tools }: Held): AnswerValidator | null {
  const strict = tools.filter((tool) => tool.strict === true);
  if (format?.type !== 'json-schema' && strict.length === 0) return null;
  const whole = format?.type === 'json-schema' ? compile(format.schema, 'schema') : null;
  const its = new Map(
    strict.map((tool): [string, ValidateFunction] => [
      tool.name,
      compile(argumentsSchema(tool), `tools.${tool.name}.parameters`),
    ]),
  );
  return ({ content, calls }) => {
    if (calls.length === 0) return faultOf(whole, content, 'the answer');
    const faults = calls.map(({ name, json }) =>
      faultOf(its.get(name) ?? null, json, `the arguments of ${name}`),
    );
    return faults.find((fault) => fault !== null) ?? null;
  };
}

function compile(schema: Readonly<Record<string, unknown>>, path: string): ValidateFunction {
  const ajv = new Ajv2020({
    strict: false,
    logger: false,
    // Formats are held by the grammar; a validator may take them as annotations.
    validateFormats: false,
    multipleOfPrecision: 9,
    code: { regExp: linearRegExp },
  });
  try {
    return ajv.compile(asDraft2020(schema));
  } catch (thrown) {
    const why = thrown instanceof Error ? thrown.message : String(thrown);
    throw new FlashmoeError('ERR_GRAMMAR', `${path}: is no schema: ${why}`, { subject: path });
  }
}

function faultOf(validate: ValidateFunction | null, text: string, what: string): string | null {
  if (validate === null) return null;
  let why = 'is no JSON';
  try {
    if (validate(JSON.parse(text) as unknown)) return null;
    const [first] = validate.errors ?? [];
    why = `${first?.instancePath ?? ''} ${first?.message ?? 'is not what its schema says'}`.trim();
  } catch {
    // Told as what it is.
  }
  return `${what} is not what its schema says: ${why}`;
}
