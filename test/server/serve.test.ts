import { once } from 'node:events';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { describe, expect, it } from 'vitest';
import { FlashmoeError } from '../../src/base/errors.js';
import { finish, Gate, MemoryEngine, says } from './memory-engine.js';
import { errorOf, start } from './running.js';

const HELLO = { messages: [{ role: 'user', content: 'hello' }] };
const engine = () => new MemoryEngine(says(finish()));

/** fetch sets Host itself, so this one is by hand. */
async function withHeaders(url: string, headers: Record<string, string>, method = 'GET') {
  const request = httpRequest(url, { method, headers });
  request.end();
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  return { status: response.statusCode, headers: response.headers, body: await text(response) };
}

describe('a server', () => {
  it('answers while its model loads, and says so', async () => {
    const gate = new Gate();
    const { get, post, modelSettled } = await start(() => gate.opened.then(engine));
    const loading = await get('/health');
    expect(loading.status).toBe(503);
    expect(loading.headers.get('retry-after')).not.toBeNull();
    expect(await loading.json()).toMatchObject({
      status: 'loading',
      error: { type: 'unavailable_error', code: 'model_loading' },
    });
    expect(await (await get('/v1/models')).json()).toMatchObject({
      data: [{ id: 'org/test-model', context_length: null }],
    });
    // What comes meanwhile waits for it.
    const early = post(HELLO);

    gate.open();
    await modelSettled;
    expect((await early).status).toBe(200);
    expect(await (await get('/health')).json()).toEqual({
      status: 'ok',
      model: 'org/test-model',
      backend: 'memory',
      isa: 'none',
      queue: 0,
    });
    expect((await post(HELLO)).status).toBe(200);
  });

  it('starts without its model and answers with the reason', async () => {
    const { get, post, modelSettled, events } = await start(() =>
      Promise.reject(
        new FlashmoeError('ERR_MODEL_DAMAGED', 'layer_03.bin: 12 bytes are missing', {
          hint: 'run `flashmoe verify`',
        }),
      ),
    );
    await modelSettled;
    for (const response of [await get('/health'), await post(HELLO)]) {
      expect(response.status).toBe(503);
      expect(await errorOf(response)).toMatchObject({
        code: 'ERR_MODEL_DAMAGED',
        message: 'layer_03.bin: 12 bytes are missing (run `flashmoe verify`)',
      });
    }
    expect(await (await get('/v1/models')).json()).toEqual({ object: 'list', data: [] });
    expect(events).toContainEqual(expect.objectContaining({ type: 'model', status: 'failed' }));
  });

  it('lists its model, also by an id with a slash', async () => {
    const { get } = await start(engine());
    const entry = {
      id: 'org/test-model',
      object: 'model',
      owned_by: 'flashmoe',
      loaded: true,
      created: expect.any(Number) as number,
      context_length: 1000,
      max_model_len: 1000,
    };
    expect(await (await get('/v1/models')).json()).toEqual({ object: 'list', data: [entry] });
    for (const path of [
      '/models/org/test-model',
      '/v1/models/org%2Ftest-model',
      '/v1/models/org/test-model/',
    ]) {
      expect(await (await get(path)).json()).toEqual(entry);
    }
    const missing = await get('/v1/models/other');
    expect(missing.status).toBe(404);
    expect(await errorOf(missing)).toMatchObject({ code: 'model_not_found', param: 'model' });
  });

  it.each([
    ['GET', '/nothing', 404, 'unknown_path'],
    ['POST', '/v1/nothing', 404, 'unknown_path'],
    ['DELETE', '/v1/models', 405, 'method_not_allowed'],
    ['GET', '/v1/chat/completions', 405, 'method_not_allowed'],
    ['GET', '/%zz', 400, null],
  ])('answers %s %s with %d and JSON', async (method, path, status, code) => {
    const { get } = await start(engine());
    const response = await get(path, { method });
    expect(response.status).toBe(status);
    if (status === 405) expect(response.headers.get('allow')).toMatch(/GET|POST/);
    expect(await errorOf(response)).toMatchObject({ code });
  });

  it.each([
    ['{"messages": [', /not JSON/],
    ['', /not JSON/],
    ['"text"', /JSON object/],
  ])('answers the body %j with 400', async (body, message) => {
    const { post } = await start(engine());
    const response = await post(body);
    expect(response.status).toBe(400);
    expect((await errorOf(response)).message).toMatch(message);
  });

  it('answers a body that is not UTF-8 with 400', async () => {
    const { post } = await start(engine());
    const body = Buffer.from([0x22, 0xc3, 0x22]);
    expect((await errorOf(await post('', { body }))).message).toMatch(/UTF-8/);
  });

  it.each(['with a length', 'in chunks'])('refuses a body over the limit (%s)', async (how) => {
    const { post, get } = await start(engine(), { bodyLimit: 10_000 });
    const large = 'x'.repeat(200_000);
    const chunks = new ReadableStream({
      start(controller) {
        controller.enqueue(new TextEncoder().encode(large));
        controller.close();
      },
    });
    const init = how === 'in chunks' ? { body: chunks, duplex: 'half' as const } : {};
    const response = await post(large, init);
    expect(response.status).toBe(413);
    expect((await errorOf(response)).message).toMatch(/10000 bytes/);
    expect((await get('/health')).status).toBe(200);
  });

  it('answers what is not HTTP with an error object', async () => {
    const { port } = await start(engine());
    const socket = connect(port, '127.0.0.1');
    socket.end('what is this\r\n\r\n');
    const answer = await text(socket);
    expect(answer).toMatch(/^HTTP\/1.1 400 Bad Request\r\n/);
    expect(answer).toMatch(/"type":"invalid_request_error"/);
  });

  it('tells its owner of requests, and never of what was said', async () => {
    const { post, events } = await start(engine());
    await post({ messages: [{ role: 'user', content: 'a secret' }] });
    expect(events.map((event) => event.type)).toEqual([
      'listening',
      'model',
      'generation',
      'request',
    ]);
    expect(JSON.stringify(events)).not.toContain('secret');
  });
});

it('stops at once although clients hold connections open', async () => {
  const { get, port, close } = await start(engine());
  await get('/health');
  const silent = connect(port, '127.0.0.1');
  await once(silent, 'connect');
  const gone = once(silent, 'close');
  await close(60_000);
  await gone;
});

it('tells its owner once of a field nobody knows', async () => {
  const { post, events } = await start(engine());
  await post({ ...HELLO, wibble: 1 });
  await post({ ...HELLO, wibble: 2 });
  expect(events.filter((event) => event.type === 'unknown-field')).toEqual([
    { type: 'unknown-field', field: 'wibble' },
  ]);
});

describe('a port', () => {
  it('in use is an error that names port and owner', async () => {
    const { port } = await start(engine());
    const second = start(engine(), { port });
    await expect(second).rejects.toMatchObject({
      code: 'ERR_PORT_IN_USE',
      message: expect.stringMatching(
        new RegExp(`port ${port} .*in use by .*pid ${process.pid}`),
      ) as string,
      hint: expect.stringContaining('--port') as string,
    });
  });

  it('that others can reach is refused without a key', async () => {
    await expect(start(engine(), { host: '0.0.0.0' })).rejects.toMatchObject({ code: 'ERR_USAGE' });
    const { port } = await start(engine(), { host: '0.0.0.0', apiKey: 'k' });
    const url = `http://127.0.0.1:${port}/v1/chat/completions`;
    expect((await withHeaders(url, { host: 'my-machine.lan' }, 'POST')).status).toBe(401);
  });
});

describe('with an API key', () => {
  it.each([
    [{}, 401],
    [{ authorization: 'Bearer wrong' }, 401],
    [{ authorization: 'Basic key-1' }, 401],
    [{ 'x-api-key': 'key-12' }, 401],
    [{ authorization: 'Bearer key-1' }, 200],
    [{ authorization: 'bearer key-1 ' }, 200],
    [{ 'x-api-key': 'key-1' }, 200],
    [{ authorization: 'Bearer wrong', 'x-api-key': 'key-1' }, 200],
  ])('%j gives %d', async (headers, status) => {
    const { post } = await start(engine(), { apiKey: 'key-1' });
    const response = await post(HELLO, { headers });
    expect(response.status).toBe(status);
    if (status === 401) {
      expect(await errorOf(response)).toMatchObject({ type: 'authentication_error' });
    }
  });

  it('health and models stay public', async () => {
    const { get } = await start(engine(), { apiKey: 'key-1' });
    expect((await get('/health')).status).toBe(200);
    expect((await get('/v1/models')).status).toBe(200);
  });
});

describe('a page in a browser', () => {
  it.each([
    ['127.0.0.1:1', 200],
    ['localhost', 200],
    ['LOCALHOST:11435', 200],
    ['[::1]:11435', 200],
    ['host.docker.internal:11435', 200],
    ['evil.example', 403],
    ['127.0.0.1.evil.example', 403],
    ['localhost.evil.example:11435', 403],
    ['a b', 400],
  ])('that reached us as %s gets %d', async (host, status) => {
    const { url } = await start(engine());
    const answer = await withHeaders(`${url}/v1/models`, { host });
    expect(answer.status).toBe(status);
    expect(() => JSON.parse(answer.body) as unknown).not.toThrow();
  });

  it.each([
    ['http://localhost:3000', 200],
    ['https://127.0.0.1', 200],
    ['app://obsidian.md', 200],
    ['https://evil.example', 403],
    ['http://localhost.evil.example', 403],
    ['null', 403],
  ])('of %s gets %d', async (origin, status) => {
    const { get } = await start(engine());
    const response = await get('/v1/models', { headers: { origin } });
    expect(response.status).toBe(status);
    const allowed = status === 200 ? origin : null;
    expect(response.headers.get('access-control-allow-origin')).toBe(allowed);
  });

  it('may ask beforehand without a key, and from anywhere when there is one', async () => {
    const { get } = await start(engine(), { apiKey: 'k' });
    const headers = {
      origin: 'https://chat.example',
      'access-control-request-method': 'POST',
      'access-control-request-headers': 'authorization, content-type',
    };
    const response = await get('/v1/chat/completions', { method: 'OPTIONS', headers });
    expect(response.status).toBe(204);
    expect(response.headers.get('access-control-allow-origin')).toBe('https://chat.example');
    expect(response.headers.get('access-control-allow-methods')).toBe('GET, POST');
    expect(response.headers.get('access-control-allow-headers')).toMatch('authorization');
  });
});
