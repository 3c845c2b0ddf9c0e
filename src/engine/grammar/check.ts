// Whether a finished answer is what its schema says: asked of a validator that knows nothing of grammars, so that neither
// a fault in those nor what they can't hold, such as items that differ, goes out as an answer that is done.

import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js';
import { FlashmoeError } from '../../base/errors.js';
import type { AnswerRequest, GenerateEvent, ToolDefinition } from '../types.js';
import { argumentsSchema } from './arguments.js';
import { asDraft2020 } from './drafts.js';
import { linearRegExp } from './linear-regexp.js';

export class AnswerCheck {
  readonly #format: ValidateFunction | null;
  readonly #tools = new Map<string, ValidateFunction>();
  #content = '';
  #calls: { name: string; json: string }[] = [];

  private constructor(format: ValidateFunction | null, tools: Map<string, ValidateFunction>) {
    this.#format = format;
    this.#tools = tools;
  }

  /** Null where nothing is held. ERR_GRAMMAR for what is no schema. */
  static of(request: AnswerRequest): AnswerCheck | null {
    if ('prompt' in request) return null;
    const { format, tools } = request;
    const strict = tools.filter((tool: ToolDefinition) => tool.strict === true);
    const schema = format?.type === 'json-schema' ? format.schema : null;
    if (schema === null && strict.length === 0) return null;
    const compiled = strict.map((tool): [string, ValidateFunction] => [
      tool.name,
      compile(argumentsSchema(tool), `tools.${tool.name}.parameters`),
    ]);
    return new AnswerCheck(schema === null ? null : compile(schema, 'schema'), new Map(compiled));
  }

  push(event: GenerateEvent): void {
    if (event.type === 'text' && event.channel === 'content') this.#content += event.text;
    else if (event.type === 'tool-call') this.#calls.push({ name: event.name, json: '' });
    else if (event.type === 'tool-arguments') {
      const call = this.#calls.at(-1);
      if (call !== undefined) call.json += event.json;
    }
  }

  /** ERR_ANSWER for an answer that is complete and isn't what was asked for. */
  end(): void {
    if (this.#calls.length === 0) fits(this.#format, this.#content, 'the answer');
    for (const { name, json } of this.#calls) {
      fits(this.#tools.get(name) ?? null, json, `the arguments of ${name}`);
    }
  }
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

function fits(validate: ValidateFunction | null, text: string, what: string): void {
  if (validate === null) return;
  let why = 'is no JSON';
  try {
    if (validate(JSON.parse(text) as unknown)) return;
    const [first] = validate.errors ?? [];
    why = `${first?.instancePath ?? ''} ${first?.message ?? 'is not what its schema says'}`.trim();
  } catch {
    // Told as what it is.
  }
  throw new FlashmoeError('ERR_ANSWER', `${what} is not what its schema says: ${why}`);
}
