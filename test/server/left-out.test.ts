// What a text model can't be shown, in every dialect: it leaves a note in the conversation, so that one picture
// doesn't end it for good; and tools that run on somebody else's servers aren't offered.

import { expect, it } from 'vitest';
import { MemoryEngine, finish, said, says } from './memory-engine.js';
import { start } from './running.js';

const IMAGE = '[image left out: this model reads text only]';
const DOCUMENT = '[document left out: this model reads text only]';

async function contents(
  path: string,
  body: object,
): Promise<{ said: string[]; tools: string[]; told: string[] }> {
  const engine = new MemoryEngine(says(said('ok'), finish()));
  const { get, events } = await start(engine);
  const response = await get(path, { method: 'POST', body: JSON.stringify(body) });
  expect(response.status, await response.clone().text()).toBe(200);
  const [request] = engine.requests;
  return {
    said: request?.messages.map(({ content }) => content) ?? [],
    tools: request?.tools.map(({ name }) => name) ?? [],
    told: events.flatMap((event) => (event.type === 'unknown-field' ? [event.field] : [])),
  };
}

it('is noted in chat completions', async () => {
  const found = await contents('/v1/chat/completions', {
    messages: [
      {
        role: 'user',
        content: [
          { type: 'text', text: 'see ' },
          { type: 'image_url', image_url: { url: 'data:image/png;base64,AAAA' } },
          { type: 'file', file: { file_id: 'f' } },
        ],
      },
    ],
    tools: [{ type: 'web_search' }, { type: 'function', function: { name: 'f' } }],
  });
  expect(found).toEqual({
    said: [`see ${IMAGE}${DOCUMENT}`],
    tools: ['f'],
    told: ['tools.web_search'],
  });
});

it('is noted in messages, in results of tools too, and a plain document is read', async () => {
  const image = {
    type: 'image',
    source: { type: 'base64', media_type: 'image/png', data: 'AAAA' },
  };
  const pdf = {
    type: 'document',
    source: { type: 'base64', media_type: 'application/pdf', data: 'AA' },
  };
  const note = {
    type: 'document',
    source: { type: 'text', media_type: 'text/plain', data: 'a note' },
  };
  const found = await contents('/v1/messages', {
    max_tokens: 5,
    messages: [
      { role: 'user', content: [{ type: 'text', text: 'look' }] },
      { role: 'assistant', content: [{ type: 'tool_use', id: 't', name: 'read', input: {} }] },
      {
        role: 'user',
        content: [{ type: 'tool_result', tool_use_id: 't', content: [image] }, pdf, note],
      },
    ],
    tools: [
      { type: 'web_search_20250305', name: 'web_search' },
      { name: 'read', input_schema: { type: 'object' } },
    ],
  });
  expect(found).toEqual({
    said: ['look', '', IMAGE, `${DOCUMENT}\n\na note`],
    tools: ['read'],
    told: ['tools.web_search_20250305'],
  });
});

it('is noted in responses, in outputs of calls too', async () => {
  const found = await contents('/v1/responses', {
    input: [
      { role: 'user', content: [{ type: 'input_image', image_url: 'data:image/png;base64,AAAA' }] },
      { type: 'function_call', call_id: 'c', name: 'view', arguments: '{}' },
      {
        type: 'function_call_output',
        call_id: 'c',
        output: [{ type: 'input_image', image_url: 'x' }],
      },
    ],
    tools: [{ type: 'web_search' }, { type: 'function', name: 'view', parameters: {} }],
  });
  expect(found).toEqual({
    said: [IMAGE, '', IMAGE],
    tools: ['view'],
    told: ['tools.web_search'],
  });
});

it('is noted in Ollama’s chats', async () => {
  const { said: texts } = await contents('/api/chat', {
    model: 'x',
    stream: false,
    messages: [{ role: 'user', content: 'see', images: ['AAAA'] }],
  });
  expect(texts).toEqual([`${IMAGE}\nsee`]);
});

it('lets a reference to an item stand for what was said', async () => {
  const engine = new MemoryEngine(says(said('forty-two'), finish()));
  const { get } = await start(engine);
  const post = (body: object) =>
    get('/v1/responses', { method: 'POST', body: JSON.stringify(body) });
  const first = (await (await post({ input: 'q' })).json()) as {
    id: string;
    output: { id: string }[];
  };
  const item = first.output[0]?.id ?? '';
  const input = [
    { role: 'user', content: 'q' },
    { type: 'item_reference', id: item },
    { role: 'user', content: 'and?' },
  ];
  expect((await post({ input })).status).toBe(200);
  expect(engine.requests[1]?.messages.map(({ content }) => content)).toEqual([
    'q',
    'forty-two',
    'and?',
  ]);
  const kept = await get(`/v1/responses/${first.id}`);
  expect(await kept.json()).toEqual(first);
  expect((await get('/v1/responses/resp_none')).status).toBe(404);
  const gone = await post({ input: [{ type: 'item_reference', id: 'msg_none' }] });
  expect(gone.status).toBe(400);
});
