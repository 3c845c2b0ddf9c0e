// From the wire's chat request to the engine's.

import type { ChatMessage, ChatRequest } from '../../../engine/types.js';
import { answerFormat } from '../../answer-format.js';
import { badField } from '../../api-error.js';
import type { ChatBody, WireMessage } from './schema.js';
import { callArguments, given, leftOut, unsupportedPart } from '../../wire.js';
import { samplingOf, seedOf } from '../../sampling.js';
import { thinkingOf } from '../../thinking.js';

/** Throws a 400 that names the field, e.g. for parts that aren't text. */
export function chatRequest(body: ChatBody): ChatRequest {
  const limit = body.max_completion_tokens ?? body.max_tokens ?? -1;
  const stops = typeof body.stop === 'string' ? [body.stop] : (body.stop ?? []);
  return {
    messages: body.messages.map((message, i) => chatMessage(message, `messages[${i}]`)),
    // `none`: the model isn't told of tools, so it can't call one.
    tools: body.tool_choice === 'none' ? [] : chatTools(body),
    ...given('toolChoice', toolChoice(body)),
    ...given('format', format(body)),
    parallelToolCalls: body.parallel_tool_calls ?? true,
    ...thinking(body),
    maxTokens: limit < 0 ? null : limit,
    stop: stops.filter((stop) => stop !== ''),
    ...(goesOn(body) ? { goOn: true } : {}),
    sampling: samplingOf(body),
    ...(body.logprobs === true ? { topLogprobs: body.top_logprobs ?? 0 } : {}),
  };
}

function chatTools(body: ChatBody): ChatRequest['tools'] {
  return (body.tools ?? []).map(({ function: tool }) => ({
    name: tool.name,
    ...given('description', tool.description),
    ...given('parameters', tool.parameters),
    ...(tool.strict === true ? { strict: true } : {}),
  }));
}

function toolChoice({ tool_choice: choice, tools }: ChatBody): ChatRequest['toolChoice'] {
  const offered = tools ?? [];
  if (choice === 'required') {
    if (offered.length > 0) return 'required';
    throw badField('tool_choice', 'tool_choice is required, and there are no tools');
  }
  if (typeof choice !== 'object' || choice === null) return undefined;
  const { name } = choice.function;
  if (offered.some((tool) => tool.function.name === name)) return { name };
  throw badField('tool_choice.function.name', `there is no tool "${name}"`);
}

/** One of several ways to say it; two at once are one too many. */
function format(body: ChatBody): ChatRequest['format'] {
  const { response_format: asked, structured_outputs: outputs } = body;
  const wire = asked && { type: asked.type, schema: asked.json_schema?.schema };
  const ways: Record<string, ChatRequest['format']> = {
    response_format:
      asked?.type === 'json_object' && asked.schema
        ? { type: 'json-schema', schema: asked.schema }
        : answerFormat(wire, 'response_format', 'json_schema.schema'),
    guided_json: guidedJson(body.guided_json, 'guided_json'),
    guided_choice: guidedChoice(body.guided_choice),
    guided_regex: guidedRegex(body.guided_regex),
    'structured_outputs.json': guidedJson(outputs?.json, 'structured_outputs.json'),
    'structured_outputs.choice': guidedChoice(outputs?.choice),
    'structured_outputs.regex': guidedRegex(outputs?.regex),
    'structured_outputs.json_object':
      outputs?.json_object === true ? { type: 'json-object' } : undefined,
  };
  const [first, second] = Object.entries(ways).filter(([, value]) => value !== undefined);
  if (second !== undefined) {
    throw badField(second[0], `${second[0]}: cannot be enforced beside ${first?.[0] ?? ''}`);
  }
  return first?.[1];
}

function guidedJson(
  schema: string | Record<string, unknown> | null | undefined,
  path: string,
): ChatRequest['format'] {
  if (schema === null || schema === undefined) return undefined;
  return { type: 'json-schema', schema: callArguments(schema, path) };
}

function guidedChoice(choices: string[] | null | undefined): ChatRequest['format'] {
  return choices ? { type: 'choice', choices } : undefined;
}

function guidedRegex(pattern: string | null | undefined): ChatRequest['format'] {
  return pattern ? { type: 'regex', pattern } : undefined;
}

/** The answer goes on from a last message that is the assistant's, unless a new turn is asked for. */
function goesOn(body: ChatBody): boolean {
  const last = body.messages.at(-1);
  const isAssistant = last?.role === 'assistant';
  const asked = body.continue_final_message ?? null;
  if (asked === true && !isAssistant) {
    const what = 'continue_final_message needs a last message of the assistant';
    throw badField('continue_final_message', what);
  }
  if (!isAssistant || asked === false || body.add_generation_prompt === true) return false;
  if ((last.tool_calls ?? []).length === 0) return true;
  const path = `messages[${body.messages.length - 1}].tool_calls`;
  throw badField(path, `${path}: calls need results before the conversation goes on`);
}

function thinking(
  body: ChatBody,
): Pick<ChatRequest, 'thinking' | 'thinkingBudget' | 'templateVariables'> {
  const { enable_thinking: byTemplate, ...further } = body.chat_template_kwargs ?? {};
  const byType = body.thinking && body.thinking.type !== 'disabled';
  const asked = byTemplate ?? body.enable_thinking ?? body.think ?? byType;
  const budget = body.thinking_budget ?? body.thinking?.budget_tokens;
  const isOn = typeof asked === 'boolean' ? asked : null;
  const found = thinkingOf(isOn, body.reasoning_effort, budget === -1 ? null : budget);
  const variables = { ...found.templateVariables, ...further };
  return Object.keys(variables).length === 0 ? found : { ...found, templateVariables: variables };
}

function chatMessage(message: WireMessage, path: string): ChatMessage {
  const calls = (message.tool_calls ?? []).map((call, i) => ({
    id: call.id ?? `call_${i}`,
    name: call.function.name,
    arguments: callArguments(
      call.function.arguments,
      `${path}.tool_calls[${i}].function.arguments`,
    ),
  }));
  const reasoning = message.reasoning_content ?? message.reasoning ?? null;
  return {
    role: message.role === 'developer' ? 'system' : message.role,
    content: contentText(message, path, calls.length > 0 || reasoning !== null),
    ...given('reasoning', reasoning),
    ...(calls.length === 0 ? {} : { toolCalls: calls }),
    ...given('toolCallId', message.tool_call_id),
    ...given('name', message.name),
  };
}

function contentText({ role, content }: WireMessage, path: string, mayLack: boolean): string {
  if (content === null || content === undefined) {
    if (role === 'tool' || (role === 'assistant' && mayLack)) return '';
    throw badField(`${path}.content`, `${path}.content: a ${role} message needs content`);
  }
  if (typeof content === 'string') return content;
  return content
    .map((part, i) => {
      if (part.type === 'text' && typeof part.text === 'string') return part.text;
      if (part.type === 'refusal' && typeof part.refusal === 'string') return part.refusal;
      const instead = leftOut(part.type);
      if (instead !== null) return instead;
      throw unsupportedPart(part.type, `${path}.content[${i}]`);
    })
    .join('');
}

/**
 * The requests for `n` answers to one prompt: with a seed, each has its own, and the prompt's state is
 * kept for the next.
 */
export function choiceRequests(request: ChatRequest, n: number): ChatRequest[] {
  const { seed } = request.sampling;
  return Array.from({ length: n }, (_, i) => ({
    ...request,
    ...(i < n - 1 ? { again: true } : {}),
    sampling: {
      ...request.sampling,
      ...(typeof seed === 'number' ? { seed: seedOf(seed, i) } : {}),
    },
  }));
}
