import OpenAI from 'openai';
import { describe, expect, it } from 'vitest';
import { decide, SHORT, type FastModels } from '../../src/server/fast/decide.js';
import { finish, Gate, MemoryEngine, said, says as engineSays } from './memory-engine.js';
import { otherServer, says, type Answer, type OtherServer } from './other-server.js';
import { errorOf, start, type Started } from './running.js';

const FAST: FastModels = { first: 'small', all: new Set(['small', 'medium']) };
const user = { role: 'user', content: 'hello' };

describe('the rules of two tiers', () => {
  it.each<[string, object, string | null, string, string]>([
    ['the local model by name', { model: 'org/big' }, null, 'local', 'model'],
    ['any other name', { model: 'gpt-5' }, null, 'local', 'default'],
    ['no name', {}, null, 'local', 'default'],
    ['the fast model by name', { model: 'medium' }, null, 'fast', 'model'],
    ['the word fast', { model: 'fast' }, null, 'fast', 'model'],
    ['auto, short', { model: 'auto', messages: [user] }, null, 'fast', 'short'],
    ['auto, with tools', { model: 'auto', tools: [{}], messages: [user] }, null, 'local', 'tools'],
    ['auto, empty tools', { model: 'auto', tools: [], messages: [user] }, null, 'fast', 'short'],
    ['auto, long', { model: 'auto', input: 'x'.repeat(SHORT + 1) }, null, 'local', 'length'],
    ['auto, just short', { model: 'auto', prompt: 'x'.repeat(SHORT) }, null, 'fast', 'short'],
    ['auto, much effort', { model: 'auto', reasoning_effort: 'high' }, null, 'local', 'effort'],
    ['the header over a name', { model: 'org/big' }, 'fast', 'fast', 'header'],
    ['the header over rules', { model: 'auto', messages: [user] }, 'local', 'local', 'header'],
    ['rules by header', { model: 'org/big', messages: [user] }, 'auto', 'fast', 'short'],
  ])('send %s', (_, body, header, route, reason) => {
    expect(decide({ ...body }, header, FAST, 'org/big')).toMatchObject({ route, reason });
  });

  it('know no other route, and stay here when the other server tells nothing', () => {
    expect(decide({}, 'slow', FAST, null)).toBeNull();
    const alone = decide({ model: 'auto', messages: [user] }, null, null, null);
    expect(alone).toEqual({ route: 'local', reason: 'unavailable' });
  });
});

async function tiers(
  answer: Answer,
  fast: { model?: string | null; apiKey?: string | null } = {},
): Promise<{ server: Started; other: OtherServer; ask: typeof ask }> {
  const other = await otherServer(['small', 'medium'], answer);
  const engine = new MemoryEngine(engineSays(said('from here'), finish()));
  const server = await start(engine, {
    fast: { url: other.url, model: null, apiKey: null, ...fast },
  });
  const ask = (body: object, init: RequestInit = {}): Promise<Response> =>
    server.post({ messages: [user], ...body }, init);
  return { server, other, ask };
}

async function textOf(response: Response): Promise<string> {
  const body = (await response.json()) as { choices: { message: { content: string } }[] };
  return body.choices[0]?.message.content ?? '';
}

const routeOf = ({ headers }: Response): unknown[] => [
  headers.get('x-flashmoe-route'),
  headers.get('x-flashmoe-route-reason'),
];

describe('a server with a fast upstream', () => {
  it('answers here or there, and tells which in a header and in its metrics', async () => {
    const { server, other, ask } = await tiers(says('from there'));
    const quick = await ask({ model: 'auto', temperature: 0.5 });
    expect(routeOf(quick)).toEqual(['fast', 'short']);
    expect(await textOf(quick)).toBe('from there');
    expect(other.asked[0]).toMatchObject({
      path: '/v1/chat/completions',
      body: { model: 'small', temperature: 0.5, messages: [user] },
    });
    const heavy = await ask({
      model: 'auto',
      tools: [{ type: 'function', function: { name: 'f' } }],
    });
    expect(routeOf(heavy)).toEqual(['local', 'tools']);
    expect(await textOf(heavy)).toBe('from here');
    expect(routeOf(await ask({ model: 'medium' }))).toEqual(['fast', 'model']);
    expect(other.asked[1]?.body.model).toBe('medium');
    const metrics = await (await server.get('/metrics')).text();
    expect(metrics).toContain('flashmoe_routed_requests_total{route="fast",reason="short"} 1\n');
    expect(metrics).toContain('flashmoe_routed_requests_total{route="local",reason="tools"} 1\n');
    const { data } = (await (await server.get('/v1/models')).json()) as { data: { id: string }[] };
    expect(data.map(({ id }) => id)).toEqual(['org/test-model', 'auto', 'fast', 'small', 'medium']);
  });

  it('passes a stream on while it comes, to a real client', async () => {
    const more = new Gate();
    const chunk = (delta: object, reason: string | null = null): string =>
      `data: ${JSON.stringify({
        id: 'chatcmpl-1',
        object: 'chat.completion.chunk',
        created: 1,
        model: 'small',
        choices: [{ index: 0, delta, finish_reason: reason }],
      })}\n\n`;
    const { server } = await tiers(async (_, response) => {
      response.setHeader('content-type', 'text/event-stream');
      response.write(chunk({ role: 'assistant', content: 'one' }));
      await more.opened;
      response.end(`${chunk({ content: ' two' })}${chunk({}, 'stop')}data: [DONE]\n\n`);
    });
    const openai = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'x', maxRetries: 0 });
    const stream = await openai.chat.completions.create({
      model: 'fast',
      messages: [{ role: 'user', content: 'hello' }],
      stream: true,
    });
    let text = '';
    for await (const { choices } of stream) {
      text += choices[0]?.delta.content ?? '';
      // The rest is only written once this much has arrived.
      if (text === 'one') more.open();
    }
    expect(text).toBe('one two');
  });

  it('answers what the rules sent there itself when nobody is there, and says so', async () => {
    const { other, ask } = await tiers(says('from there'), { model: 'small' });
    await other.stop();
    const quick = await ask({ model: 'auto' });
    expect(routeOf(quick)).toEqual(['local', 'unavailable']);
    expect(await textOf(quick)).toBe('from here');
    const named = await ask({ model: 'small' });
    expect(named.status).toBe(502);
    expect(await errorOf(named)).toMatchObject({ code: 'upstream_unavailable' });
  });

  it('takes an error of a model asked for by name as the answer, and else answers here', async () => {
    const { ask } = await tiers((_, response) => {
      response.writeHead(503, { 'content-type': 'application/json', 'set-cookie': 'a=b' });
      response.end('{"error":{"message":"busy"}}');
    });
    const named = await ask({ model: 'small' });
    expect(named.status).toBe(503);
    expect(named.headers.get('set-cookie')).toBeNull();
    expect(await named.json()).toEqual({ error: { message: 'busy' } });
    expect(await textOf(await ask({ model: 'auto' }))).toBe('from here');
  });

  it('sends its own key there and never the client’s, and follows no redirect', async () => {
    const elsewhere = await otherServer([], says('stolen'));
    const { other, ask } = await tiers(
      (_, response) => {
        response.writeHead(307, { location: `${elsewhere.url}/chat/completions` }).end();
      },
      { apiKey: 'upstream-key' },
    );
    const response = await ask(
      { model: 'small' },
      { headers: { authorization: 'Bearer client-key', cookie: 'session=1' } },
    );
    expect(response.status).toBe(502);
    expect(elsewhere.asked).toEqual([]);
    expect(other.asked[0]?.headers.authorization).toBe('Bearer upstream-key');
    expect(JSON.stringify(other.asked[0]?.headers)).not.toMatch(/client-key|session/);
  });

  it('ends the work there when the client leaves', async () => {
    const begun = new Gate();
    const gone = new Gate();
    const { ask } = await tiers((_, response) => {
      response.on('close', () => gone.open());
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write(': working\n\n');
      begun.open();
    });
    const leave = new AbortController();
    await ask({ model: 'small', stream: true }, { signal: leave.signal });
    await begun.opened;
    leave.abort();
    await gone.opened;
  });

  it('says so in the stream when the other server breaks off', async () => {
    const { ask } = await tiers((_, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write('data: {"half":1}\n\n', () => response.destroy());
    });
    const text = await (await ask({ model: 'small', stream: true })).text();
    expect(text).toMatch(/data: \{"half":1\}/);
    expect(text).toMatch(/"code":"upstream_broke_off"/);
    expect(text).not.toMatch(/DONE/);
  });

  it('has embeddings from there, and refuses a header it does not know', async () => {
    const { server, ask } = await tiers((_, response) => {
      response.setHeader('content-type', 'application/json');
      response.end('{"object":"list","data":[]}');
    });
    const response = await server.get('/v1/embeddings', {
      method: 'POST',
      body: JSON.stringify({ model: 'small', input: 'x' }),
    });
    expect(await response.json()).toEqual({ object: 'list', data: [] });
    const wrong = await ask({}, { headers: { 'x-flashmoe-route': 'sideways' } });
    expect(wrong.status).toBe(400);
    expect(await errorOf(wrong)).toMatchObject({ param: 'x-flashmoe-route' });
  });

  it.each([
    ['ftp://127.0.0.1/v1', null, /ftp/],
    ['http://user:pass@127.0.0.1/v1', null, /more than host, port and path/],
    ['127.0.0.1:11434', null, /is not http|is no address/],
    ['http://models.example/v1', 'key', /unencrypted/],
  ])('does not start with the address %s', async (url, apiKey, message) => {
    const engine = new MemoryEngine(engineSays(finish()));
    const started = start(engine, { fast: { url, model: null, apiKey } });
    await expect(started).rejects.toMatchObject({
      code: 'ERR_USAGE',
      message: expect.stringMatching(message) as string,
    });
  });
});
