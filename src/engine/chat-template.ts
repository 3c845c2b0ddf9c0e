// A conversation as the model was trained to read it: the checkpoint's own Jinja template, rendered
// with text of users and tools marked (control-text.ts), then encoded.

import { FlashmoeError } from '../base/errors.js';
import { callForm } from './calls/form.js';
import { ControlText, unusedMark } from './control-text.js';
import {
  isObject,
  nameOf,
  readJsonObject,
  readText,
  type JsonObject,
  type ModelFiles,
} from './model-files.js';
import { parseTemplate, type ParsedTemplate } from './python-jinja.js';
import { templateMessages, templateTools } from './template-input.js';
import type { EncodedPiece } from './text-pieces.js';
import type { Tokenizer } from './tokenizer-types.js';
import { lacksTools, toolsText } from './tools-text.js';
import type { ChatRequest } from './types.js';

export interface Prompt {
  /** What the template printed, marks removed. For people; ids are not a function of it. */
  text: string;
  ids: number[];
}

export type PromptRequest = Pick<
  ChatRequest,
  'messages' | 'tools' | 'thinking' | 'templateVariables' | 'goOn'
>;

export interface Rendered {
  /** What the template printed, marks removed. */
  text: string;
  characters: number;
  /** Its ids, piece by piece. */
  encode(): Generator<EncodedPiece, void>;
}

const EXAMPLE = [
  { role: 'system', content: 'an instruction' },
  { role: 'user', content: 'a question' },
  { role: 'assistant', content: 'the answer, in full' },
];

const LATE_SYSTEM = [
  ...EXAMPLE,
  { role: 'system', content: 'a late instruction' },
  { role: 'user', content: 'one question more' },
];

export class ChatTemplate {
  readonly #template: ParsedTemplate;
  readonly #control: ControlText;
  #takesLateSystem: boolean | null = null;

  /**
   * @param source the template's text: also what decides which output parser fits
   * @param variables further names the template may use, e.g. bos_token
   */
  constructor(
    readonly source: string,
    tokenizer: Tokenizer,
    private readonly variables: Record<string, string>,
  ) {
    this.#template = parseTemplate(source);
    this.#control = new ControlText(tokenizer, source);
  }

  /** Rendered and encoded, ending where the assistant begins. ERR_TEMPLATE when the template refuses. */
  prompt(request: PromptRequest): Prompt {
    const rendered = this.render(request);
    return { text: rendered.text, ids: [...rendered.encode()].flatMap(({ ids }) => ids) };
  }

  /** The first half of `prompt`, which runs the template, and the second, which doesn't. */
  render(request: PromptRequest): Rendered {
    // Found out here and not on loading: it runs the template, and only what renders has a limit for that.
    this.#takesLateSystem ??= this.#printsInOrder(LATE_SYSTEM);
    const messages = templateMessages(request.messages, this.source, this.#takesLateSystem);
    const tools = templateTools(request.tools);
    const used = [this.source, JSON.stringify([messages, tools])];
    const mark = unusedMark(used);
    const marked = this.#control
      .mark(messages, mark)
      .map((message, i) => ({ ...message, role: messages[i]?.role ?? message.role }));
    const end = request.goOn === true ? unusedMark([...used, mark]) : null;
    const last = marked.at(-1);
    if (end !== null && last !== undefined) last.content = (last.content ?? '') + end;
    const markedTools = this.#control.mark(tools, mark);
    const form = tools.length > 0 && lacksTools(this.source) ? callForm(this.source) : null;
    const rendered = this.#render({
      // Before ours, which they can't replace.
      ...request.templateVariables,
      messages: form === null ? marked : withSystemText(marked, toolsText(markedTools, form)),
      ...(tools.length > 0 ? { tools: markedTools } : {}),
      ...(request.thinking === null ? {} : { enable_thinking: request.thinking }),
      add_generation_prompt: end === null,
    });
    const prompt = end === null ? rendered : upTo(rendered, end);
    return {
      text: prompt.replaceAll(mark, ''),
      characters: prompt.length,
      encode: () => this.#control.encodePieces(prompt, mark),
    };
  }

  /** The control token the template writes behind an assistant's text: a model says it to end its turn. */
  endOfTurn(): number | null {
    return this.#tokensBehind(EXAMPLE.slice(1)).at(-1) ?? null;
  }

  /** The control tokens the template writes behind the texts of messages, whoever's they are. */
  turnEnds(): ReadonlySet<number> {
    const behind = [...this.#tokensBehind(EXAMPLE), ...this.#tokensBehind(EXAMPLE.slice(1))];
    return new Set(behind.filter((id) => id !== null));
  }

  /** False for a template that refuses such messages, leaves one out or moves it. */
  #printsInOrder(messages: typeof EXAMPLE): boolean {
    try {
      const rendered = this.#render({ messages, add_generation_prompt: true });
      const places = messages.map(({ content }) => rendered.indexOf(content));
      return places.every((place, i) => place > (places[i - 1] ?? -1));
    } catch (thrown) {
      if (thrown instanceof FlashmoeError) return false;
      throw thrown;
    }
  }

  /** Empty for a template that wants more than this for an example. */
  #tokensBehind(messages: typeof EXAMPLE): (number | null)[] {
    let rendered: string;
    try {
      rendered = this.#render({ messages, add_generation_prompt: false });
    } catch (thrown) {
      if (thrown instanceof FlashmoeError) return [];
      throw thrown;
    }
    return messages.map(({ content }) => {
      const at = rendered.lastIndexOf(content);
      return at < 0 ? null : this.#control.tokenAt(rendered, at + content.length);
    });
  }

  #render(items: Record<string, unknown>): string {
    try {
      return this.#template.render({ ...this.variables, ...items });
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new FlashmoeError('ERR_TEMPLATE', `the model's chat template refuses: ${why}`, {
        subject: 'messages',
        cause,
      });
    }
  }
}

/** Everything before the end of the last message's text. */
function upTo(rendered: string, end: string): string {
  const [before, ...after] = rendered.split(end);
  if (before !== undefined && after.length === 1) return before;
  throw new FlashmoeError(
    'ERR_TEMPLATE',
    "the model's chat template does not print the last message as it is, so no answer can go on from it",
    { subject: 'messages' },
  );
}

/** @param text goes behind what the first message says, if that is the system's */
function withSystemText<T extends { role: string; content: string | null }>(
  messages: readonly T[],
  text: string,
): { role: string; content: string | null }[] {
  const [first, ...rest] = messages;
  if (first?.role !== 'system') return [{ role: 'system', content: text }, ...messages];
  return [{ ...first, content: `${first.content ?? ''}\n\n${text}` }, ...rest];
}

/** No published template has a tenth of it. */
const MOST_CHARACTERS = 1 << 20;

/** A chat template's text and which of the model's files has it. */
export interface TemplateText {
  text: string;
  file: string;
}

/**
 * chat_template.jinja, else `chat_template` of tokenizer_config.json or of chat_template.json; null where none of
 * them has one: such a model only goes on with plain text.
 */
export async function findTemplate(files: ModelFiles): Promise<TemplateText | null> {
  const own = await readText(files, 'chat_template.jinja');
  if (own !== null) return { text: own, file: 'chat_template.jinja' };
  for (const file of ['tokenizer_config.json', 'chat_template.json']) {
    const text = defaultTemplate((await readJsonObject(files, file)) ?? {});
    if (text !== null) return { text, file };
  }
  return null;
}

/** @param given in place of the model's own. ERR_UNSUPPORTED_MODEL, naming the file, for one that can't be parsed. */
export async function loadChatTemplate(
  files: ModelFiles,
  tokenizer: Tokenizer,
  given: TemplateText | null = null,
): Promise<ChatTemplate | null> {
  const template = given ?? (await findTemplate(files));
  if (template === null) return null;
  const { text, file } = template;
  const refuse = (what: string, cause?: unknown): never => {
    const name = template === given ? file : nameOf(files, file);
    const details = { cause, subject: file };
    throw new FlashmoeError('ERR_UNSUPPORTED_MODEL', `${name}: ${what}`, details);
  };
  if (text.trim() === '') refuse('the chat template is empty');
  if (text.length > MOST_CHARACTERS) {
    refuse(`the chat template has ${text.length} characters, ${MOST_CHARACTERS} are the limit`);
  }
  const config = (await readJsonObject(files, 'tokenizer_config.json')) ?? {};
  try {
    return new ChatTemplate(text, tokenizer, tokenVariables(config));
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    return refuse(`the chat template can't be parsed: ${why}`, cause);
  }
}

/** A string, or a list of named ones. */
function defaultTemplate(config: JsonObject): string | null {
  const value = config.chat_template;
  if (typeof value === 'string') return value;
  if (!Array.isArray(value)) return null;
  const named = value.filter(isObject).find((entry) => entry.name === 'default');
  return typeof named?.template === 'string' ? named.template : null;
}

/** bos_token, eos_token, …: a string or an object with `content`. */
function tokenVariables(config: JsonObject): Record<string, string> {
  const result: Record<string, string> = {};
  for (const name of ['bos_token', 'eos_token', 'pad_token', 'unk_token']) {
    const value = config[name];
    const text = isObject(value) ? value.content : value;
    if (typeof text === 'string') result[name] = text;
  }
  return result;
}
