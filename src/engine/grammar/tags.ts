// Grammars for whole answers, as structural tags: JSON of a schema, or calls in the model's own form.

import { FlashmoeError } from '../../base/errors.js';
import type { CallForm } from '../calls/form.js';
import { VALUE_ENDS } from '../calls/function-xml-reader.js';
import { declaredTypes } from '../calls/values.js';
import type { JsonObject } from '../model-files.js';
import type { ChatRequest, ToolDefinition } from '../types.js';
import { argumentsSchema } from './arguments.js';
import { Languages, type Language } from './language.js';
import { searchedBy } from './pattern.js';
import { JsonGrammar } from './json-grammar.js';
import { bounded, orTooLarge, schemaGrammar, withinBounds, type OnProblem } from './schema.js';
import {
  isWhole,
  kindOfShape,
  kindOfType,
  type Conjunction,
  type Kind,
  type Shape,
} from './shapes.js';

type Tag = JsonObject;

/** Of Harmony: the header of an answer to the user. */
const FINAL = '<|channel|>final<|message|>';

/** What of a request a grammar may have to hold. */
export type Held = Pick<ChatRequest, 'format' | 'tools' | 'toolChoice' | 'parallelToolCalls'>;

/** Whether answerTag would make one: told at once, where the tag of a schema takes its time. */
export function isHeld(
  { format, tools, toolChoice = 'auto' }: Held,
  form: CallForm | null,
): boolean {
  if (format !== undefined) return true;
  if (form === null || tools.length === 0) return false;
  if (typeof toolChoice === 'object') return tools.some(({ name }) => name === toolChoice.name);
  return toolChoice !== 'auto' || tools.some((tool) => tool.strict === true);
}

/**
 * Null for a request that leaves everything to the model. Schemas are somebody else's programs: a thread that may be ended
 * is the place for this. @param afterThinking line breaks may come first
 */
export function answerTag(
  request: Held,
  form: CallForm | null,
  afterThinking: boolean,
): Tag | null {
  const { content, isFree } = contentTag(request, form);
  if (content === null) return null;
  return {
    type: 'structural_tag',
    // Free text takes its own line breaks.
    format:
      form?.name === 'harmony'
        ? harmonyAnswer(content, request)
        : afterThinking && !isFree
          ? sequence(regex('\\n{0,2}'), content)
          : content,
  };
}

function contentTag(
  request: Held,
  form: CallForm | null,
): { content: Tag | null; isFree: boolean } {
  const { format, tools, toolChoice = 'auto', parallelToolCalls = true } = request;
  const wanted =
    typeof toolChoice === 'string' ? tools : tools.filter(({ name }) => name === toolChoice.name);
  const isStrict = tools.some((tool) => tool.strict === true);
  const languages = new Languages();
  const isHeld = isStrict || toolChoice !== 'auto' || format !== undefined;
  const calls =
    form === null || wanted.length === 0 || !isHeld
      ? null
      : callsTag(
          wanted,
          form,
          parallelToolCalls,
          toolChoice === 'auto' && format === undefined,
          languages,
        );
  const held = format === undefined ? null : jsonTag(format, languages);
  const json = held !== null && form?.name === 'harmony' ? sequence(literal(FINAL), held) : held;
  const must = toolChoice === 'auto' ? null : calls;
  const content =
    must ?? (json === null ? (isStrict ? calls : null) : calls === null ? json : or(json, calls));
  return { content, isFree: must === null && json === null };
}

/**
 * Messages with headers: thoughts first, if any, then what is held, in a message of its own. What a thought says, and its
 * end, are not the grammar's: constraint.ts keeps them from it.
 */
function harmonyAnswer(content: Tag, { format, toolChoice = 'auto' }: Held): Tag {
  if (format === undefined && toolChoice === 'auto') return content;
  const thought = regex('(<\\|channel\\|>analysis<\\|message\\|><\\|start\\|>assistant)?');
  return sequence(thought, content);
}

function jsonTag(format: NonNullable<ChatRequest['format']>, languages: Languages): Tag {
  if (format.type === 'json-object') return grammar(schemaGrammar({ type: 'object' }, '', refuse));
  if (format.type === 'choice') return or(...format.choices.map(literal));
  if (format.type === 'regex') return patternTag(format.pattern, languages);
  return grammar(schemaGrammar(format.schema, 'schema', refuse, languages));
}

/** A text that a pattern describes whole. */
function patternTag(pattern: string, languages: Languages): Tag {
  return grammar(
    bounded('pattern', refuse, () => {
      const json = new JsonGrammar({}, 'pattern', refuse, languages);
      const language = searchedBy(`^(?:${pattern})$`, languages);
      if (language === null) refuse('pattern', 'is no regular expression that can be enforced');
      const [root] = json.automaton(language, [], false);
      if (root === undefined) refuse('pattern', 'allows nothing that can be written');
      return json.rules.text(root);
    }),
  );
}

/** @param free text may stand before the calls, or instead of them */
function callsTag(
  tools: readonly ToolDefinition[],
  form: CallForm,
  parallel: boolean,
  free: boolean,
  languages: Languages,
): Tag {
  const tags = tools.map((tool) => callTag(tool, form, languages));
  const line = form.written?.line;
  const calls = {
    type: 'tags_with_separator',
    tags,
    separator: '\n',
    at_least_one: true,
    stop_after_first: !parallel || form.name === 'harmony',
  };
  const { section, open } = form;
  const whole =
    section === null ? null : tag(section.open + (line ?? ''), calls, (line ?? '') + section.close);
  if (!free) return whole ?? calls;
  return {
    type: 'triggered_tags',
    triggers: [section?.open ?? open],
    tags: whole === null ? tags : [whole],
    at_least_one: false,
    stop_after_first: whole !== null || !parallel,
  };
}

function callTag(tool: ToolDefinition, form: CallForm, languages: Languages): Tag {
  const { name } = tool;
  const { open, close, markers, written } = form;
  const separator = markers.at(-1) ?? '';
  if (written !== undefined) {
    return tag(written.begin(name), parametersOrText(tool, written, languages), written.end);
  }
  switch (form.name) {
    case 'harmony':
      return tag(
        `${open}${name} <|constrain|>json<|message|>`,
        argumentsTag(tool, languages),
        // Its last token ends the answer.
        '',
      );
    case 'markup':
      throw new RangeError('a markup that nobody knows how to write');
    case 'function-xml':
      return tag(
        `${open}\n<function=${name}>\n`,
        parametersOrText(tool, FUNCTION_XML, languages),
        `</function>\n${close}`,
      );
    case 'json-envelope':
      return tag(
        `${open}\n{"name": ${JSON.stringify(name)}, "arguments": `,
        argumentsTag(tool, languages),
        `}\n${close}`,
      );
    case 'fenced-json':
      return tag(
        `${open}function${separator}${name}\n\`\`\`json\n`,
        argumentsTag(tool, languages),
        `\n\`\`\`${close}`,
      );
    case 'inline-json':
      return tag(`${open}${name}${separator}`, argumentsTag(tool, languages), close);
    case 'numbered-json': {
      const numbered = sequence(
        regex('[0-9]{1,3}'),
        literal(separator),
        argumentsTag(tool, languages),
      );
      return tag(`${open}functions.${name}:`, numbered, close);
    }
  }
}

/** Only a strict tool's schema must be enforced whole; of the others, what can be is. */
function problemOf({ strict }: ToolDefinition): OnProblem {
  return strict === true ? refuse : (): void => undefined;
}

function argumentsTag(tool: ToolDefinition, languages: Languages): Tag {
  return grammar(schemaGrammar(argumentsSchema(tool), pathOf(tool), problemOf(tool), languages));
}

function pathOf({ name }: ToolDefinition): string {
  return `tools.${name}.parameters`;
}

/** How one argument of a call is written: what stands before and behind its value, and what would end the value. */
interface WrittenParameter {
  before: (key: string, isText: boolean) => string;
  after: string;
  ends: readonly string[];
  /** `before` tells text from JSON; else a value's look does. */
  marksText?: boolean;
}

/** What a value is written as. */
type Written = 'text' | 'json' | 'either';

const FUNCTION_XML: WrittenParameter = {
  before: (key) => `<parameter=${key}>\n`,
  after: '\n</parameter>\n',
  ends: VALUE_ENDS,
};

/** Where a schema is too large to enforce, and needn't be, the arguments are any text. */
function parametersOrText(
  tool: ToolDefinition,
  written: WrittenParameter,
  languages: Languages,
): Tag {
  const made = orTooLarge(pathOf(tool), problemOf(tool), () =>
    parametersTag(tool, written, languages),
  );
  return made ?? { type: 'any_text' };
}

/**
 * The library's own form of this can't hold "<" in a text; here each parameter is a tag. Parameters come in the schema's
 * order; those that only a count or a pattern would admit are left out.
 */
function parametersTag(tool: ToolDefinition, written: WrittenParameter, languages: Languages): Tag {
  const path = pathOf(tool);
  const onProblem = problemOf(tool);
  const schema = withinBounds(argumentsSchema(tool), path, onProblem);
  if (schema === true || schema === false) return regex('\\n?');
  const { normaliser, membersOf } = new JsonGrammar(schema, path, onProblem, languages);
  const options = normaliser.shapesOf([schema]).flatMap((shape): Tag[] => {
    if (shape.kind !== 'object') return [];
    const members = membersOf(shape);
    const required = members.filter((member) => member.required).length;
    if (members.length > shape.max || required < shape.min) {
      onProblem(path, 'counts properties, which cannot be enforced in the form of this model');
    }
    const tags: Tag[] = [];
    for (const { name, conjunction, required: isRequired } of members) {
      // Where the opening says which of both its value is, each has an opening of its own.
      const kinds: Written[] = written.marksText === true ? ['text', 'json'] : ['either'];
      const values = kinds.flatMap((kind) => {
        const value = valueTag(schema, path, conjunction, onProblem, languages, written.ends, kind);
        return value === null
          ? []
          : [tag(written.before(name, kind !== 'json'), value, written.after)];
      });
      const parameter = values.length === 0 || /[>\n]|^\s|\s$/.test(name) ? null : or(...values);
      if (parameter !== null) tags.push(isRequired ? parameter : or(parameter, regex('\\n?')));
      else if (isRequired) return [];
    }
    return [tags.length === 0 ? regex('\\n?') : sequence(...tags)];
  });
  if (options.length > 0) return or(...options);
  onProblem(path, 'allows nothing that can be written in the form of this model');
  return regex('\\n?');
}

/** Null where nothing of it can be written. Text stands as it is, all else as JSON. */
function valueTag(
  root: object,
  path: string,
  conjunction: Conjunction,
  onProblem: OnProblem,
  languages: Languages,
  ends: readonly string[],
  kind: Written,
): Tag | null {
  const json = new JsonGrammar(root, path, onProblem, languages);
  const { normaliser } = json;
  const shapes = normaliser.shapesOf(conjunction);
  const isText = (shape: Shape): boolean => kindOfShape(shape) === 'string';
  const others = kind === 'text' ? [] : shapes.filter((shape) => !isText(shape));
  const texts = shapes
    .filter((shape) => kind !== 'json' && isText(shape))
    .map((shape) =>
      shape.kind === 'string'
        ? shape.language
        : languages.text(shape.kind === 'literal' ? String(shape.value) : ''),
    );
  const text = languages.or(...texts);
  const isFree = others.every(
    (shape) =>
      isWhole(shape, languages) ||
      (shape.kind === 'number' && !shape.min && !shape.max && shape.multiples.length === 0),
  );
  // Whatever it is read as, it is allowed.
  if (text === languages.all && isFree && kind !== 'json') return { type: 'any_text' };
  let made: Tag | null = null;
  const ebnf = bounded(path, onProblem, () => {
    const options = json.options(others, conjunction);
    const types = new Set(conjunction.flatMap((node) => [...declaredTypes(node, root)]));
    const kinds = types.size === 0 ? ['null' as const] : [...types].map(kindOfType);
    const read = new Set([
      ...others.map(kindOfShape),
      ...kinds.filter((kind) => kind !== 'string'),
    ]);
    // What is marked as text is read as nothing else.
    const clear = kind === 'text' ? languages.all : notReadAs(read, languages);
    const written = languages.and(text, notEnding(languages, ends), clear);
    options.push(...json.automaton(written, conjunction, false));
    return options.length === 0 ? '' : json.rules.text(options.join(' | '));
  });
  if (ebnf !== '') made = grammar(ebnf);
  return made;
}

/** Texts in which nothing ends the value. */
function notEnding(languages: Languages, tags: readonly string[]): Language {
  const ends = tags.map((end) => languages.cat(languages.all, languages.text(end), languages.all));
  return languages.not(languages.or(...ends));
}

/** Texts that aren't read as a value of another kind; see calls/values.ts. */
function notReadAs(kinds: ReadonlySet<Kind>, languages: Languages): Language {
  const looks = [...kinds].map((kind) => searchedBy(LOOKS_LIKE[kind], languages) ?? languages.none);
  return languages.not(languages.or(...looks));
}

const LOOKS_LIKE: Readonly<Record<Kind, string>> = {
  null: '^\\s*[nN][uU][lL][lL]\\s*$',
  boolean: '^\\s*([tT][rR][uU][eE]|[fF][aA][lL][sS][eE])\\s*$',
  number:
    '^\\s*([+-]?(\\d+\\.?\\d*|\\.\\d+)([eE][+-]?\\d+)?|0[xX][0-9a-fA-F]+|0[oO][0-7]+|0[bB][01]+)\\s*$',
  array: '^\\s*\\[',
  object: '^\\s*\\{',
  string: '^',
};

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
function grammar(ebnf: string): Tag {
  return { type: 'grammar', grammar: ebnf };
}
