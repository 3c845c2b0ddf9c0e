// A conversation as the model was trained to read it: the checkpoint's own Jinja template, rendered
// with text of users and tools marked (control-text.ts), then encoded.

import { join } from 'node:path';
import { FlashmoeError } from '../base/errors.js';
import { callForm } from './calls/form.js';
import { ControlText, unusedMark } from './control-text.js';
import { isObject, readJsonObject, readText, type JsonObject } from './model-files.js';
import { parseTemplate, type ParsedTemplate } from './python-jinja.js';
import { templateMessages, templateTools } from './template-input.js';
import type { Tokenizer } from './tokenizer-types.js';
import { lacksTools, toolsText } from './tools-text.js';
import type { ChatRequest } from './types.js';

export interface Prompt {
  /** What the template printed, marks removed. For people; ids are not a function of it. */
  text: string;
  ids: number[];
}

const EXAMPLE = [
  { role: 'system', content: 'an instruction' },
  { role: 'user', content: 'a question' },
  { role: 'assistant', content: 'the answer, in full' },
];

export class ChatTemplate {
  readonly #template: ParsedTemplate;
  readonly #control: ControlText;

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
  prompt(
    request: Pick<ChatRequest, 'messages' | 'tools' | 'thinking' | 'templateVariables' | 'goOn'>,
  ): Prompt {
    const messages = templateMessages(request.messages, this.source);
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
      ids: this.#control.encode(prompt, mark),
    };
  }

  /** As prompt(), but null where the template refuses. */
  tryPrompt(request: Pick<ChatRequest, 'messages' | 'tools' | 'thinking'>): Prompt | null {
    try {
      return this.prompt(request);
    } catch (thrown) {
      if (thrown instanceof FlashmoeError && thrown.code === 'ERR_TEMPLATE') return null;
      throw thrown;
    }
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

/** chat_template.jinja, else `chat_template` of tokenizer_config.json or of chat_template.json. */
export async function loadChatTemplate(dir: string, tokenizer: Tokenizer): Promise<ChatTemplate> {
  const config = (await readJsonObject(dir, 'tokenizer_config.json')) ?? {};
  const older = (await readJsonObject(dir, 'chat_template.json')) ?? {};
  const source =
    (await readText(dir, 'chat_template.jinja')) ??
    defaultTemplate(config) ??
    defaultTemplate(older);
  if (source === null) {
    throw new FlashmoeError(
      'ERR_MODEL_DAMAGED',
      `${dir}: no chat_template.jinja, and no chat_template in tokenizer_config.json`,
    );
  }
  try {
    return new ChatTemplate(source, tokenizer, tokenVariables(config));
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new FlashmoeError(
      'ERR_UNSUPPORTED_MODEL',
      `${join(dir, 'chat_template.jinja')}: cannot be parsed: ${why}`,
      { cause },
    );
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
