// Grammars for whole answers, as structural tags: JSON of a schema, or calls in the model's own form.

import { FlashmoeError } from '../../base/errors.js';
import type { CallForm } from '../calls/form.js';
import { declaredTypes } from '../calls/values.js';
import { isObject, type JsonObject } from '../model-files.js';
import type { ChatRequest, ToolDefinition } from '../types.js';
import { enforceable } from './schema.js';

type Tag = JsonObject;

/** Null for a request that leaves everything to the model. @param afterThinking line breaks may come first */
export function answerTag(
  request: Pick<ChatRequest, 'format' | 'tools' | 'toolChoice' | 'parallelToolCalls'>,
  form: CallForm | null,
  afterThinking: boolean,
): Tag | null {
  const { format, tools, toolChoice = 'auto', parallelToolCalls = true } = request;
  const wanted =
    typeof toolChoice === 'string' ? tools : tools.filter(({ name }) => name === toolChoice.name);
  const isStrict = tools.some((tool) => tool.strict === true);
  const calls =
    form === null || wanted.length === 0
      ? null
      : callsTag(wanted, form, parallelToolCalls, toolChoice === 'auto' && format === undefined);
  const json = format === undefined ? null : jsonTag(format);
  const must = toolChoice === 'auto' ? null : calls;
  const content =
    must ?? (json === null ? (isStrict ? calls : null) : calls === null ? json : or(json, calls));
  if (content === null) return null;
  // Free text takes its own line breaks.
  const isFree = must === null && json === null;
  return {
    type: 'structural_tag',
    format: afterThinking && !isFree ? sequence(regex('\\n{0,2}'), content) : content,
  };
}

function jsonTag(format: NonNullable<ChatRequest['format']>): Tag {
  if (format.type === 'json-object') return json({ type: 'object', additionalProperties: true });
  if (format.type === 'choice') return or(...format.choices.map(literal));
  if (format.type === 'regex') return regex(format.pattern);
  return json(enforceable(format.schema, 'schema', refuse));
}

/** @param free text may stand before the calls, or instead of them */
function callsTag(
  tools: readonly ToolDefinition[],
  form: CallForm,
  parallel: boolean,
  free: boolean,
): Tag {
  const tags = tools.map((tool) => callTag(tool, form));
  const calls = {
    type: 'tags_with_separator',
    tags,
    separator: '\n',
    at_least_one: true,
    stop_after_first: !parallel,
  };
  const { section, open } = form;
  const whole = section === null ? null : tag(section.open, calls, section.close);
  if (!free) return whole ?? calls;
  return {
    type: 'triggered_tags',
    triggers: [section?.open ?? open],
    tags: whole === null ? tags : [whole],
    at_least_one: false,
    stop_after_first: whole !== null || !parallel,
  };
}

function callTag(tool: ToolDefinition, { name: form, open, close, markers }: CallForm): Tag {
  const { name } = tool;
  const separator = markers.at(-1) ?? '';
  switch (form) {
    case 'function-xml':
      return tag(`${open}\n<function=${name}>\n`, parametersTag(tool), `</function>\n${close}`);
    case 'json-envelope':
      return tag(
        `${open}\n{"name": ${JSON.stringify(name)}, "arguments": `,
        argumentsTag(tool),
        `}\n${close}`,
      );
    case 'fenced-json':
      return tag(
        `${open}function${separator}${name}\n\`\`\`json\n`,
        argumentsTag(tool),
        `\n\`\`\`${close}`,
      );
    case 'inline-json':
      return tag(`${open}${name}${separator}`, argumentsTag(tool), close);
    case 'numbered-json': {
      const numbered = sequence(regex('[0-9]{1,3}'), literal(separator), argumentsTag(tool));
      return tag(`${open}functions.${name}:`, numbered, close);
    }
  }
}

function argumentsTag(tool: ToolDefinition): Tag {
  return json({ type: 'object', properties: {}, ...toolSchema(tool) });
}

/** Only a strict tool's schema must be enforced whole; of the others, what can be is. */
function toolSchema({ name, parameters, strict }: ToolDefinition): JsonObject {
  const problem = strict === true ? refuse : (): void => undefined;
  return enforceable(parameters ?? {}, `tools.${name}.parameters`, problem);
}

/** The library's own form of this can't hold "<" in a text; here each parameter is a tag around anything. */
function parametersTag(tool: ToolDefinition): Tag {
  const schema = toolSchema(tool);
  const properties = isObject(schema.properties) ? schema.properties : {};
  const required = new Set(Array.isArray(schema.required) ? (schema.required as unknown[]) : []);
  const tags = Object.entries(properties).map(([key, value]) => {
    const parameter = tag(
      `<parameter=${key}>\n`,
      valueTag(tool, key, value, schema),
      '\n</parameter>\n',
    );
    return required.has(key) ? parameter : or(parameter, regex('\\n?'));
  });
  return tags.length === 0 ? regex('\\n?') : sequence(...tags);
}

function valueTag(tool: ToolDefinition, key: string, value: unknown, root: JsonObject): Tag {
  const schema = isObject(value) ? value : {};
  const choices = Array.isArray(schema.enum)
    ? schema.enum
    : 'const' in schema
      ? [schema.const]
      : [];
  if (choices.length > 0) {
    const texts = choices.map((choice) =>
      typeof choice === 'string' ? choice : JSON.stringify(choice),
    );
    return or(...texts.map(literal));
  }
  const types = declaredTypes(schema);
  if (types.size > 0 && !types.has('string')) {
    const { $defs, definitions } = root;
    return json({
      ...schema,
      ...($defs ? { $defs } : {}),
      ...(definitions ? { definitions } : {}),
    });
  }
  const held = ['pattern', 'format', 'minLength', 'maxLength', '$ref'].find(
    (word) => word in schema,
  );
  if (held !== undefined && tool.strict === true) {
    refuse(
      `tools.${tool.name}.parameters.properties.${key}.${held}`,
      'cannot be enforced in the form of this model',
    );
  }
  return { type: 'any_text' };
}

function refuse(path: string, why: string): never {
  throw new FlashmoeError('ERR_GRAMMAR', `${path}: ${why}`, { subject: path });
}

function tag(begin: string, content: Tag, end: string): Tag {
  return { type: 'tag', begin, content, end };
}
function sequence(...elements: Tag[]): Tag {
  return elements.length === 1 ? (elements[0] ?? {}) : { type: 'sequence', elements };
}
function or(...elements: Tag[]): Tag {
  return elements.length === 1 ? (elements[0] ?? {}) : { type: 'or', elements };
}
function literal(value: string): Tag {
  return { type: 'const_string', value };
}
function regex(pattern: string): Tag {
  return { type: 'regex', pattern };
}
function json(schema: JsonObject): Tag {
  return { type: 'json_schema', json_schema: schema };
}
