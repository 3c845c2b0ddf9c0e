import { describe, expect, it } from 'vitest';
import type { ChatRequest } from '../../../src/engine/types.js';
import { ApiError } from '../../../src/server/api-error.js';
import { chatRequest } from '../../../src/server/openai/chat/request.js';
import { parseChatBody } from '../../../src/server/openai/chat/schema.js';

const user = { role: 'user', content: 'hi' };

function read(body: unknown, unknown: string[] = []): ChatRequest {
  return chatRequest(parseChatBody(body, (field) => unknown.push(field)));
}

function refusal(body: unknown): { status: number; param: string | undefined; message: string } {
  try {
    read(body);
  } catch (error) {
    if (error instanceof ApiError) {
      return { status: error.status, param: error.details.param, message: error.message };
    }
    throw error;
  }
  throw new Error('was accepted');
}

describe('a chat request', () => {
  it('keeps everything that steers the answer', () => {
    expect(
      read({
        model: 'm',
        messages: [
          {
            role: 'developer',
            content: [
              { type: 'text', text: 'be ' },
              { type: 'text', text: 'brief' },
            ],
          },
          user,
          {
            role: 'assistant',
            content: null,
            reasoning_content: 'hm',
            tool_calls: [
              { id: 'a', type: 'function', function: { name: 'f', arguments: '{"x": 1}' } },
              { id: 'b', type: 'function', function: { name: 'g', arguments: { y: true } } },
            ],
          },
          { role: 'tool', tool_call_id: 'a', content: 'r' },
        ],
        tools: [
          {
            type: 'function',
            function: { name: 'f', description: 'd', parameters: { type: 'object' } },
          },
        ],
        tool_choice: 'auto',
        parallel_tool_calls: false,
        max_tokens: 5,
        max_completion_tokens: 7,
        stop: ['a', '', 'b'],
        temperature: 0.5,
        top_p: 0.9,
        top_k: 40,
        min_p: 0.1,
        seed: 3,
        reasoning_effort: 'none',
      }),
    ).toEqual({
      messages: [
        { role: 'system', content: 'be brief' },
        user,
        {
          role: 'assistant',
          content: '',
          reasoning: 'hm',
          toolCalls: [
            { id: 'a', name: 'f', arguments: { x: 1 } },
            { id: 'b', name: 'g', arguments: { y: true } },
          ],
        },
        { role: 'tool', content: 'r', toolCallId: 'a' },
      ],
      tools: [{ name: 'f', description: 'd', parameters: { type: 'object' } }],
      parallelToolCalls: false,
      thinking: false,
      maxTokens: 7,
      stop: ['a', 'b'],
      sampling: { temperature: 0.5, topP: 0.9, topK: 40, minP: 0.1, seed: 3 },
    });
  });

  it('takes what is left out, and null, as the model’s own choice', () => {
    const nothing = { messages: [user], tools: [], parallelToolCalls: true, thinking: null };
    const expected = { ...nothing, maxTokens: null, stop: [], sampling: {} };
    expect(read({ messages: [user] })).toEqual(expected);
    const nulls = {
      temperature: null,
      tools: null,
      stop: null,
      seed: null,
      n: null,
      max_tokens: null,
    };
    expect(read({ messages: [user], ...nulls })).toEqual(expected);
  });

  it.each([
    [{ max_tokens: -1 }, { maxTokens: null }],
    [{ max_tokens: 0 }, { maxTokens: 0 }],
    [{ stop: 'x' }, { stop: ['x'] }],
    [{ enable_thinking: true }, { thinking: true }],
    [{ chat_template_kwargs: { enable_thinking: false } }, { thinking: false }],
    [
      { chat_template_kwargs: { enable_thinking: true, preserve_thinking: true } },
      { thinking: true, templateVariables: { preserve_thinking: true } },
    ],
    [{ reasoning_effort: 'high' }, { thinking: true }],
    [{ top_k: -1 }, { sampling: { topK: 0 } }],
    [{ n: 1, logprobs: false, presence_penalty: 0, response_format: { type: 'text' } }, {}],
    [{ store: true, metadata: { a: 1 }, user: 'u', functions: [], logit_bias: {} }, {}],
  ])('with %j means %j', (fields, expected) => {
    expect(read({ messages: [user], ...fields })).toMatchObject(expected);
  });

  it('does not tell the model of tools it may not call', () => {
    const tools = [{ type: 'function', function: { name: 'f' } }];
    expect(read({ messages: [user], tools, tool_choice: 'required' }).toolChoice).toBe('required');
    const schema = { type: 'object' };
    const format = { type: 'json_schema', json_schema: { name: 'n', schema } };
    expect(read({ messages: [user], response_format: format }).format).toEqual({
      type: 'json-schema',
      schema,
    });
    expect(read({ messages: [user], tools, tool_choice: 'none' }).tools).toEqual([]);
  });

  it('tells of fields nobody knows, and goes on', () => {
    const unknown: string[] = [];
    read({ messages: [user], wibble: 1, store: true }, unknown);
    expect(unknown).toEqual(['wibble']);
  });

  const fn = (rest: object) => ({ type: 'function', function: { name: 'f', ...rest } });
  const assistant = (call: object) => ({ role: 'assistant', tool_calls: [{ function: call }] });
  it.each<[unknown, string, RegExp]>([
    [[], 'body', /JSON object/],
    [null, 'body', /JSON object/],
    [{}, 'messages', /expected array/],
    [{ messages: null }, 'messages', /expected array/],
    [{ messages: [] }, 'messages', /at least one/],
    [{ messages: [123] }, 'messages[0]', /expected object/],
    [{ messages: [{}] }, 'messages[0].role', /expected one of/],
    [{ messages: [{ role: 3, content: '' }] }, 'messages[0].role', /expected one of/],
    [{ messages: [{ role: 'function', content: '' }] }, 'messages[0].role', /expected one of/],
    [{ messages: [user, { role: 'user' }] }, 'messages[1].content', /needs content/],
    [{ messages: [{ role: 'user', content: 5 }] }, 'messages[0].content', /string or an array/],
    [
      { messages: [{ role: 'user', content: [{ type: 'input_audio' }] }] },
      'messages[0].content[0]',
      /^audio input is not supported$/,
    ],
    [
      { messages: [user, assistant({ name: 'f', arguments: '{x' })] },
      'messages[1].tool_calls[0].function.arguments',
      /not JSON/,
    ],
    [
      { messages: [user, assistant({ name: 'f', arguments: '[1]' })] },
      'messages[1].tool_calls[0].function.arguments',
      /JSON object/,
    ],
    [{ messages: [user], temperature: 'hot' }, 'temperature', /expected number/],
    [{ messages: [user], temperature: 3 }, 'temperature', /<=2/],
    [{ messages: [user], top_p: 0 }, 'top_p', />0/],
    [{ messages: [user], seed: 1.5 }, 'seed', /int/],
    [{ messages: [user], max_tokens: -2 }, 'max_tokens', />=-1/],
    [{ messages: [user], max_tokens: '5' }, 'max_tokens', /expected number/],
    [{ messages: [user], stop: ['1', '2', '3', '4', '5'] }, 'stop', /up to 4/],
    [{ messages: [user], stop: 5 }, 'stop', /string/],
    [{ messages: [user], stream: 'yes' }, 'stream', /boolean/],
    [{ messages: [user], tools: [{ type: 'custom' }] }, 'tools[0].type', /function/],
    [{ messages: [user], tool_choice: 'required' }, 'tool_choice', /there are no tools/],
    [{ messages: [user], tool_choice: fn({}) }, 'tool_choice.function.name', /no tool "f"/],
    [{ messages: [user], n: 0 }, 'n', />=1/],
    [{ messages: [user], logprobs: 1 }, 'logprobs', /boolean/],
    [{ messages: [user], top_logprobs: 5 }, 'top_logprobs', /needs logprobs/],
    [{ messages: [user], presence_penalty: 3 }, 'presence_penalty', /<=2/],
    [{ messages: [user], logit_bias: { a: 1 } }, 'logit_bias.a', /.*/],
    [{ messages: [user], logit_bias: { 5: 101 } }, 'logit_bias.5', /<=100/],
    [{ messages: [user], repetition_penalty: 0 }, 'repetition_penalty', />0/],
    [
      { messages: [user], response_format: { type: 'json_schema', json_schema: {} } },
      'response_format.json_schema.schema',
      /is missing/,
    ],
    [{ messages: [user], response_format: { type: 'xml' } }, 'response_format.type', /not xml/],
    [{ messages: [user], response_format: 'json' }, 'response_format', /object/],
    [{ messages: [user], functions: [{ name: 'f' }] }, 'functions', /not supported/],
    [{ messages: [user], reasoning_effort: 'extreme' }, 'reasoning_effort', /expected one of/],
    [
      { messages: [user], chat_template_kwargs: { bos_token: 'x' } },
      'chat_template_kwargs.bos_token',
      /not a variable that can be set/,
    ],
  ])('%j is refused at %s', (body, param, message) => {
    const refused = refusal(body);
    expect(refused).toMatchObject({ status: 400, param });
    expect(refused.message).toMatch(message);
  });
});
