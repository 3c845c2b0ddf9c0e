// `make demo`: the product as a user meets it, in a throw-away home inside the checkout. Provisions the
// bundled model, starts the server on a free port, asks a question and for a tool call over HTTP, and stops
// the server whatever happens. A second run finds the model and says so.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { dirname, join, relative, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const home = join(root, '.demo', 'home');
const entry = join(root, 'dist', 'cli', 'main.js');
const env = { ...process.env, FLASHMOE_HOME: home };
const QUESTION = 'What is 347 + 285?';
const TOOL_QUESTION = 'What is the weather in Paris?';
const TOOL = {
  type: 'function',
  function: {
    name: 'get_weather',
    description: 'Get the weather for a city',
    parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
  },
};
const START_MS = 60_000;
const STOP_MS = 15_000;

const say = (line = '') => process.stdout.write(`${line}\n`);
const flashmoe = (args, stdio) =>
  spawn(process.execPath, [entry, ...args], { cwd: root, env, stdio });

/** Runs a command in the foreground; throws when it fails. */
async function run(...args) {
  say(`\n$ flashmoe ${args.join(' ')}`);
  const [status] = await once(flashmoe(args, ['ignore', 'inherit', 'inherit']), 'close');
  if (status !== 0) throw new Error(`flashmoe ${args[0]} ended with status ${status}`);
}

/** Starts the server; resolves to its URL when the model is ready. */
async function startServer() {
  const args = ['serve', '--port', '0', '--json'];
  say(`\n$ flashmoe ${args.join(' ')}`);
  const server = flashmoe(args, ['ignore', 'pipe', 'inherit']);
  const gone = once(server, 'close').then(([status, signal]) => {
    throw new Error(`the server ended with status ${status ?? signal}`);
  });
  gone.catch(() => undefined);
  const ready = (async () => {
    let url = null;
    for await (const line of createInterface({ input: server.stdout })) {
      const event = JSON.parse(line);
      if (event.event === 'listening') ({ url } = event);
      if (event.event === 'model' && event.status === 'ready') return url;
      if (event.event === 'model') throw new Error(`the model did not load: ${event.detail}`);
    }
    return gone;
  })();
  const late = sleep(START_MS, null, { ref: false }).then(() => {
    throw new Error(`the server was not ready within ${START_MS / 1000} s`);
  });
  try {
    const url = await Promise.race([ready, late, gone]);
    say(`listening on ${url}`);
    // Nobody reads its events any more; a full pipe would stop it.
    server.stdout.resume();
    return { server, url };
  } catch (error) {
    await stop(server);
    throw error;
  }
}

async function stop(server) {
  if (server.exitCode !== null || server.signalCode !== null) return;
  server.stdout.resume();
  const closed = once(server, 'close');
  server.kill('SIGTERM');
  const killer = setTimeout(() => server.kill('SIGKILL'), STOP_MS);
  await closed;
  clearTimeout(killer);
}

async function ask(url, question, tools) {
  const request = {
    model: 'tiny',
    messages: [{ role: 'user', content: question }],
    ...(tools.length > 0 && { tools }),
    max_tokens: 200,
    temperature: 0,
  };
  say(`\n$ curl ${url}/v1/chat/completions -H 'content-type: application/json' \\`);
  say(`    -d '${JSON.stringify(request)}'`);
  const response = await fetch(`${url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(request),
    signal: AbortSignal.timeout(START_MS),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`the server answered ${response.status}: ${text}`);
  const { choices, usage } = JSON.parse(text);
  const { message, finish_reason: reason } = choices[0];
  say(`\nquestion: ${question}`);
  if (message.reasoning_content) {
    say(`thought:  ${message.reasoning_content.trim().replaceAll('\n', ', ')}`);
  }
  if (message.content) say(`answer:   ${message.content.trim()}`);
  for (const { function: call } of message.tool_calls ?? []) {
    say(`calls:    ${call.name} ${call.arguments}`);
  }
  say(
    `          ${usage.prompt_tokens} tokens read, ${usage.completion_tokens} written, ended by ${reason}`,
  );
}

let server = null;
const stopNow = (signal) => {
  server?.kill('SIGTERM');
  process.exitCode = signal === 'SIGINT' ? 130 : 143;
};
process.once('SIGINT', stopNow);
process.once('SIGTERM', stopNow);

try {
  say(`home of this demo: ${relative(process.cwd(), home) || home} (make clean removes it)`);
  // A throw-away home must not become what runs at login.
  await run('setup', '--model', 'tiny', '--yes', '--no-service');
  const started = await startServer();
  server = started.server;
  await ask(started.url, QUESTION, []);
  await ask(started.url, TOOL_QUESTION, [TOOL]);
  await stop(server);
  await run('status');
} catch (error) {
  // After a signal the failures are its consequence.
  const what = process.exitCode ? 'interrupted, the server is stopped' : error.message;
  process.stderr.write(`\ndemo: ${what}\n`);
  process.exitCode ||= 1;
} finally {
  if (server) await stop(server);
}
