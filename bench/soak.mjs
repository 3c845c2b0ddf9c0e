// A long run of everything at once, by hand: node bench/soak.mjs [--minutes 120] [--clients 4] [--model ID]
// Starts `flashmoe serve` with a model of the home and asks it in four APIs, streamed and not, with tools and schemas; some clients leave
// in the middle, some don't read, some send what is hostile. Prints each kind of answer with its count, and the server's memory, files
// and threads as time goes on. Ends with 1 where an answer had a status that the documentation doesn't name, or the server didn't last.
import { spawn } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { connect } from 'node:net';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '120' },
    clients: { type: 'string', default: '4' },
    model: { type: 'string', default: 'tiny' },
  },
});
const main = join(resolve(import.meta.dirname, '..'), 'dist', 'cli', 'main.js');
const server = spawn(
  process.execPath,
  [main, 'serve', '--port', '0', '--json', '--model', values.model],
  { stdio: ['ignore', 'pipe', 'ignore'] },
);
let url = '';
for await (const line of createInterface({ input: server.stdout })) {
  const event = JSON.parse(line);
  url = event.url ?? url;
  if (event.event === 'model') break;
}
server.stdout.resume();

/** A queue that is full, and what is not done here. */
const DOCUMENTED = new Set([501, 503]);
const counts = new Map();
const ends = Date.now() + Number(values.minutes) * 60_000;
const started = Date.now();
let serial = 0;

function count(name, status) {
  const key = `${name}: ${status}`;
  counts.set(key, (counts.get(key) ?? 0) + 1);
}

function pick(list) {
  return list[Math.floor(Math.random() * list.length)];
}

/** Some conversations go on, so that prompts begin alike. */
function question() {
  const system = `You are careful. ${'Rule: be brief. '.repeat(pick([1, 20, 60]))}`;
  return [
    { role: 'system', content: system },
    { role: 'user', content: `What is ${serial++ % 50} + ${pick([1, 2, 3])}?` },
  ];
}

const tools = [
  {
    name: 'look',
    description: 'looks at a place',
    schema: { type: 'object', properties: { place: { type: 'string' } }, required: ['place'] },
  },
];
const schema = {
  type: 'object',
  properties: { sum: { type: 'integer' }, unit: { enum: ['a', 'b'] } },
  required: ['sum', 'unit'],
};

function held(what) {
  return { response_format: { type: 'json_schema', json_schema: { name: 'x', schema: what } } };
}

const CHAT = '/v1/chat/completions';
const some = () => pick([1, 20, 80, 300]);
const stream = () => Math.random() < 0.6;
const SENSIBLE = {
  chat: () => [CHAT, { messages: question(), max_tokens: some(), stream: stream() }],
  tools: () => [
    CHAT,
    {
      ...{ messages: question(), max_tokens: some(), stream: stream(), tool_choice: 'required' },
      tools: tools.map(({ schema: parameters, ...tool }) => ({
        type: 'function',
        function: { ...tool, parameters, strict: true },
      })),
    },
  ],
  schema: () => [
    CHAT,
    {
      ...{ messages: question(), max_tokens: 80, stream: stream(), enable_thinking: false },
      ...held(schema),
    },
  ],
  responses: () => [
    '/v1/responses',
    { input: question(), max_output_tokens: some(), stream: stream() },
  ],
  messages: () => [
    '/v1/messages',
    {
      ...{ messages: question().slice(1), system: 'Be brief.' },
      ...{ max_tokens: some(), stream: stream() },
      tools: tools.map(({ schema: input_schema, ...tool }) => ({ ...tool, input_schema })),
    },
  ],
  ollama: () => [
    '/api/chat',
    { model: values.model, messages: question(), options: { num_predict: some() } },
  ],
  completions: () => ['/v1/completions', { prompt: 'One, two,', max_tokens: some() }],
};
const deep = (depth) => '['.repeat(depth) + ']'.repeat(depth);
const HOSTILE = {
  'slow pattern': () => [
    CHAT,
    {
      ...{ messages: question(), max_tokens: 5 },
      ...held({ type: 'string', pattern: '^.*a.{20}$' }),
    },
  ],
  'large schema': () => [
    CHAT,
    {
      ...{ messages: question(), max_tokens: 5 },
      ...held({
        type: 'object',
        properties: Object.fromEntries(
          Array.from({ length: 600 }, (_, i) => [`p${i}`, { type: 'string', maxLength: 40 + i }]),
        ),
      }),
    },
  ],
  'prompt over the context': () => [
    CHAT,
    { messages: [{ role: 'user', content: 'word '.repeat(pick([20_000, 320_000])) }] },
  ],
  'deep body': () => [CHAT, `{"messages":${deep(5000)}}`],
  'no JSON': () => [CHAT, '{"messages": ['],
  'wrong field': () => [CHAT, { messages: question(), top_k: 2 ** 40 }],
  'no such thing here': () => ['/api/pull', { model: 'x' }],
};

async function once(name, [path, body]) {
  const leaves = Math.random() < 0.25;
  const left = new AbortController();
  const timer = leaves ? setTimeout(() => left.abort(), Math.random() * 1500) : null;
  try {
    const response = await fetch(url + path, {
      method: 'POST',
      body: typeof body === 'string' ? body : JSON.stringify(body),
      signal: left.signal,
    });
    const text = await response.text();
    // A stream that has begun tells of an error in it; a sensible request that is refused is looked into.
    const fault = /"error":\s*(?:"|\{[^{}]*"message":\s*")([^"]{0,80})/.exec(text);
    const isTold = fault !== null && (response.status === 200 || name in SENSIBLE);
    count(name, `${response.status}${isTold ? `, ${fault[1]}` : ''}`);
  } catch (error) {
    count(name, left.signal.aborted ? 'left' : `no answer: ${error.cause?.code ?? error.message}`);
  } finally {
    clearTimeout(timer);
  }
}

/** Asks for a long answer and reads none of it, then goes. */
async function deaf() {
  const body = JSON.stringify({ messages: question(), max_tokens: 500, stream: true });
  const socket = connect(Number(new URL(url).port), '127.0.0.1');
  socket.on('error', () => undefined).pause();
  socket.write(
    `POST ${CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
  );
  await pause(1000 + Math.random() * 4000);
  socket.destroy();
  count('a client that does not read', 'left');
}

async function client() {
  while (Date.now() < ends && server.exitCode === null) {
    const dice = Math.random();
    if (dice < 0.05) await deaf();
    else {
      const kinds = Object.entries(dice < 0.25 ? HOSTILE : SENSIBLE);
      const [name, make] = pick(kinds);
      await once(name, make());
    }
  }
}

function facts() {
  const status = readFileSync(`/proc/${server.pid}/status`, 'utf8');
  const of = (name) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)?.[1]);
  const files = readdirSync(`/proc/${server.pid}/fd`).length;
  return `${Math.round(of('VmRSS') / 1024)} MB, ${files} files, ${of('Threads')} threads`;
}

async function watch() {
  for (let next = started; Date.now() < ends && server.exitCode === null;) {
    if (Date.now() >= next) {
      const minute = Math.round((Date.now() - started) / 60_000);
      process.stdout.write(`after ${minute} min: ${facts()}\n`);
      next += 120_000;
    }
    await pause(1000);
  }
}

await Promise.all([watch(), ...Array.from({ length: Number(values.clients) }, client)]);
// What was under way is over, and a grammar thread that is spare stays.
await pause(5000);
const lived = server.exitCode === null;
const health = lived ? (await fetch(`${url}/health`)).status : 'none';
process.stdout.write(`at the end: ${lived ? facts() : 'the server is gone'}, /health ${health}\n`);
for (const [key, times] of [...counts].sort()) process.stdout.write(`${times} x ${key}\n`);
server.kill('SIGTERM');
const isBad = (key) => {
  const status = Number(/: (\d{3})/.exec(key)?.[1]);
  return /no answer/.test(key) || (status >= 500 && !DOCUMENTED.has(status));
};
process.exitCode = lived && health === 200 && ![...counts.keys()].some(isBad) ? 0 : 1;
