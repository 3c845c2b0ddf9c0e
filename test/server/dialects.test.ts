// What agents send beyond the plain cases, in each of the three dialects.

import { describe, expect, it } from 'vitest';
import type { GenerateEvent } from '../../src/engine/types.js';
import { aborted, finish, Gate, MemoryEngine, said, says } from './memory-engine.js';
import { readEvents, start, type Started } from './running.js';

const HELLO = { messages: [{ role: 'user', content: 'hello' }] };

const ask = async ({ get }: Started, path: string, body: object): Promise<Response> =>
  await get(path, { method: 'POST', body: JSON.stringify(body) });

async function namedEvents(response: Response): Promise<{ type: string; [k: string]: unknown }[]> {
  const blocks = (await response.text())
    .split('\n\n')
    .filter((block) => block.startsWith('event:'));
  return blocks.map(
    (block) => JSON.parse(block.slice(block.indexOf('data: ') + 6)) as { type: string },
  );
}

describe('a response with tools of other kinds', () => {
  const TOOLS = [
    { type: 'function', name: 'shell', parameters: { type: 'object' } },
    {
      type: 'custom',
      name: 'apply_patch',
      description: 'Edits files.',
      format: { type: 'grammar', syntax: 'lark', definition: 'start: "x"' },
    },
    {
      type: 'namespace',
      name: 'mcp__files__',
      tools: [{ type: 'function', name: 'read', parameters: { type: 'object' } }],
    },
    { type: 'web_search' },
  ];

  it('tells the model of those that can be called, as functions', async () => {
    const engine = new MemoryEngine(says(finish()));
    const response = await ask(await start(engine), '/v1/responses', { input: 'q', tools: TOOLS });
    expect(response.status).toBe(200);
    const [request] = engine.requests;
    expect(request?.tools.map(({ name }) => name)).toEqual([
      'shell',
      'apply_patch',
      'mcp__files__read',
    ]);
    expect(request?.tools[1]?.description).toBe(
      'Edits files.\n\nThe input follows this grammar:\nstart: "x"',
    );
  });

  it('hands calls back by namespace and name, and free text as it is', async () => {
    const calls: GenerateEvent[] = [
      { type: 'tool-call', index: 0, id: 'call_a', name: 'mcp__files__read' },
      { type: 'tool-arguments', index: 0, json: '{"path":"a"}' },
      { type: 'tool-call', index: 1, id: 'call_b', name: 'apply_patch' },
      { type: 'tool-arguments', index: 1, json: '{"input":"*** Begin' },
      { type: 'tool-arguments', index: 1, json: ' Patch\\n"}' },
    ];
    const server = await start(new MemoryEngine(says(...calls, finish('tool_calls'))));
    const events = await namedEvents(
      await ask(server, '/v1/responses', { input: 'q', tools: TOOLS, stream: true }),
    );
    const done = events.filter(({ type }) => type === 'response.output_item.done');
    expect(done.map(({ item }) => item)).toMatchObject([
      {
        type: 'function_call',
        namespace: 'mcp__files__',
        name: 'read',
        call_id: 'call_a',
        arguments: '{"path":"a"}',
      },
      {
        type: 'custom_tool_call',
        name: 'apply_patch',
        call_id: 'call_b',
        input: '*** Begin Patch\n',
      },
    ]);
    expect(events.filter(({ type }) => /custom_tool_call_input/.test(type))).toMatchObject([
      { type: 'response.custom_tool_call_input.delta', delta: '*** Begin Patch\n' },
      { type: 'response.custom_tool_call_input.done', input: '*** Begin Patch\n' },
    ]);
    expect(events.map(({ sequence_number }) => sequence_number)).toEqual(events.map((_, i) => i));
    expect(events.at(-1)?.type).toBe('response.completed');
  });

  it('takes such calls in a history, and a choice among tools', async () => {
    const engine = new MemoryEngine(says(finish()));
    const response = await ask(await start(engine), '/v1/responses', {
      input: [
        { role: 'user', content: 'q' },
        {
          type: 'function_call',
          call_id: 'a',
          namespace: 'mcp__files__',
          name: 'read',
          arguments: '{}',
        },
        { type: 'function_call_output', call_id: 'a', output: 'text' },
        { type: 'custom_tool_call', call_id: 'b', name: 'apply_patch', input: 'P' },
        { type: 'custom_tool_call_output', call_id: 'b', output: 'done' },
      ],
      tools: TOOLS,
      tool_choice: {
        type: 'allowed_tools',
        mode: 'required',
        tools: [{ type: 'function', name: 'shell' }],
      },
    });
    expect(response.status).toBe(200);
    expect(engine.requests[0]).toMatchObject({
      toolChoice: 'required',
      tools: [{ name: 'shell' }],
      messages: [
        { role: 'user' },
        { toolCalls: [{ name: 'mcp__files__read', arguments: {} }] },
        { role: 'tool', content: 'text' },
        { toolCalls: [{ name: 'apply_patch', arguments: { input: 'P' } }] },
        { role: 'tool', content: 'done' },
      ],
    });
  });
});

describe('messages of a coding agent', () => {
  const BILLING = 'x-anthropic-billing-header: cc_version=2.1.0; cch=a1b2c;';

  it.each([
    [
      'a block of its own',
      [
        { type: 'text', text: BILLING },
        { type: 'text', text: 'You code.' },
      ],
    ],
    ['the first line of a block', [{ type: 'text', text: `${BILLING}\n\nYou code.` }]],
    ['the first line of a text', `${BILLING}\nYou code.`],
  ])('keep their prefix although billing is %s', async (_, system) => {
    const engine = new MemoryEngine(says(finish()));
    await ask(await start(engine), '/v1/messages', { ...HELLO, max_tokens: 9, system });
    expect(engine.requests[0]?.messages[0]).toEqual({ role: 'system', content: 'You code.' });
  });

  it('keep every word a user says, those words too', async () => {
    const engine = new MemoryEngine(says(finish()));
    const content = [{ type: 'text', text: BILLING }];
    const body = { messages: [{ role: 'user', content }], max_tokens: 9 };
    await ask(await start(engine), '/v1/messages', body);
    expect(engine.requests[0]?.messages).toEqual([{ role: 'user', content: BILLING }]);
  });

  it('are held to a schema where they ask for one, by either name', async () => {
    const engine = new MemoryEngine(says(finish()));
    const server = await start(engine);
    const format = { type: 'json_schema', schema: { type: 'object' } };
    for (const asked of [{ output_config: { format, effort: 'low' } }, { output_format: format }]) {
      await ask(server, '/v1/messages', { ...HELLO, max_tokens: 9, ...asked });
    }
    const expected = { type: 'json-schema', schema: { type: 'object' } };
    expect(engine.requests.map((request) => request.format)).toEqual([expected, expected]);
  });

  it('tell of fields nobody knows, and refuse what would change the answer', async () => {
    const server = await start(new MemoryEngine(says(finish())));
    const body = { ...HELLO, max_tokens: 9, metadata: {}, context_management: {}, wild: 1 };
    expect((await ask(server, '/v1/messages', body)).status).toBe(200);
    expect(server.events.filter(({ type }) => type === 'unknown-field')).toEqual([
      { type: 'unknown-field', field: 'wild' },
    ]);
    const refused = await ask(server, '/v1/messages', { ...body, mcp_servers: [{ name: 'x' }] });
    expect(refused.status).toBe(400);
  });
});

describe('a chat that asked for progress', () => {
  it('has chunks about the reading of its prompt that are no content', async () => {
    const engine = new MemoryEngine(
      says(
        { type: 'prefill', done: 2, total: 9 },
        { type: 'prefill', done: 9, total: 9 },
        said('Hi'),
        finish(),
      ),
    );
    const { post } = await start(engine);
    const { data } = await readEvents(
      await post({ ...HELLO, stream: true, return_progress: true }),
    );
    const told = data.filter((one) => typeof one === 'object' && 'prompt_progress' in (one ?? {}));
    expect(told).toMatchObject([
      { prompt_progress: { total: 9, cache: 2, processed: 2 }, choices: [{ delta: {} }] },
      { prompt_progress: { total: 9, cache: 2, processed: 9 }, choices: [{ delta: {} }] },
    ]);
    const without = await readEvents(await post({ ...HELLO, stream: true }));
    expect(JSON.stringify(without.data)).not.toMatch(/prompt_progress/);
  });
});

describe('a cancelled answer', () => {
  it('is counted as such, with the tokens that were made and none after', async () => {
    const heard = new Gate();
    let made = 0;
    const engine = new MemoryEngine(async function* (_, signal) {
      for (made = 1; made <= 3; made++) {
        yield { type: 'decode', done: made };
        yield said('x');
      }
      heard.open();
      await aborted(signal);
      throw signal.reason;
    });
    const { post, get } = await start(engine);
    const leave = new AbortController();
    const response = await post({ ...HELLO, stream: true }, { signal: leave.signal });
    const reader = (response.body as ReadableStream<Uint8Array>).getReader();
    await reader.read();
    await heard.opened;
    leave.abort();
    await expect
      .poll(async () => await (await get('/metrics')).text(), { timeout: 10_000 })
      .toMatch(/flashmoe_generations_total\{reason="cancelled"\} 1\n/);
    const text = await (await get('/metrics')).text();
    expect(text).toMatch(/flashmoe_completion_tokens_total 3\n/);
    expect(text).toMatch(/flashmoe_queue_length 0\n/);
  });
});
