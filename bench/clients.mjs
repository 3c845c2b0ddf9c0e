// The coding clients themselves against `flashmoe serve`, by hand: node bench/clients.mjs --port PORT --clients DIR [CLIENT …]
// PORT is of a server with a model that has 65,536 tokens of context; DIR has a folder for each client with its package installed
// (npm install PACKAGE@VERSION), and `node` with one of the npm package `node` for those that need a newer one. Each client is started by
// `flashmoe launch`, or by `flashmoe connect` where it reads only its own files, in a home and a project of its own. Between it and the
// server stands a proxy that counts, and that makes the model call a tool where that is to be tried: what the bundled model says by itself
// would never. The result is a line of the table in docs/clients.md.
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, request } from 'node:http';
import { tmpdir } from 'node:os';
import { delimiter, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { getEncoding } from 'js-tiktoken';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { port: { type: 'string' }, clients: { type: 'string' }, log: { type: 'string' } },
});
const flashmoe = resolve(import.meta.dirname, '..', 'dist', 'cli', 'main.js');
const MARK = 'flashmoe-was-here';
const command = `echo ${MARK}`;

/** `program` starts it where we can't; `say` is one turn, `again` the next of the same conversation. */
const CLIENTS = {
  'claude-code': {
    say: (words) => ['-p', words, '--allowedTools', 'Bash'],
    again: (words) => ['-p', '-c', words, '--allowedTools', 'Bash'],
    tool: { name: 'Bash', input: { command, description: 'says it' } },
  },
  codex: {
    say: (words) => [...CODEX, words],
    again: (words) => [...CODEX, 'resume', '--last', words],
    tool: { name: 'exec_command', input: { cmd: command } },
  },
  opencode: {
    list: { program: 'opencode', args: ['models', 'flashmoe'] },
    say: (words) => ['run', words],
    again: (words) => ['run', '-c', words],
    tool: { name: 'bash', input: { command, description: 'says it' } },
  },
  continue: {
    say: (words) => ['-p', words, '--auto'],
    again: (words) => ['-p', words, '--auto', '--resume'],
    tool: { name: 'Bash', input: { command } },
  },
  'qwen-code': {
    say: (words) => ['-p', words, '--yolo'],
    again: (words) => ['-p', words, '--yolo', '--continue'],
    tool: { name: 'run_shell_command', input: { command, is_background: false } },
  },
  pi: {
    say: (words) => ['-p', words],
    again: (words) => ['-p', '-c', words],
    tool: { name: 'bash', input: { command } },
  },
  cline: {
    program: 'cline',
    say: (words) => [words],
    again: null,
    tool: { name: 'run_commands', input: { commands: [command] } },
  },
  openclaw: {
    program: 'openclaw',
    list: { program: 'openclaw', args: ['models', 'list'] },
    say: (words) => ['agent', '--local', '--agent', 'main', '--message', words],
    again: (words) => ['agent', '--local', '--agent', 'main', '--message', words],
    tool: { name: 'exec', input: { command } },
  },
};
const CODEX = ['exec', '--skip-git-repo-check', '--dangerously-bypass-approvals-and-sandbox'];

const encoding = getEncoding('o200k_base');
const seen = [];
/** The client's tool whose arguments are given from the first request on, so that all prompts begin alike. */
let known = null;
/** The next request that offers it must call it. */
let isForced = false;

const proxy = createServer((asked, answer) => {
  const parts = [];
  asked.on('data', (part) => parts.push(part));
  asked.on('end', () => {
    const text = Buffer.concat(parts).toString();
    let body = asked.method === 'POST' ? JSON.parse(text || '{}') : null;
    const entry = { method: asked.method, path: asked.url.split('?')[0], body };
    seen.push(entry);
    if (body !== null && known !== null) body = withKnown(body);
    const data = body === null ? '' : JSON.stringify(body);
    const headers = { ...asked.headers, host: `127.0.0.1:${values.port}` };
    delete headers['transfer-encoding'];
    headers['content-length'] = String(Buffer.byteLength(data));
    const onward = request(
      { port: values.port, host: '127.0.0.1', method: asked.method, path: asked.url, headers },
      (reply) => {
        answer.writeHead(reply.statusCode, reply.headers);
        entry.status = reply.statusCode;
        let said = '';
        reply.on('data', (part) => {
          said += part;
          answer.write(part);
        });
        reply.on('end', () => answer.end());
        reply.on('error', () => answer.destroy());
        // A client may leave with the last event, before the end.
        reply.on('close', () => {
          Object.assign(entry, usageOf(said));
          if (reply.statusCode >= 400) entry.said = said.slice(0, 500);
        });
      },
    );
    onward.on('error', () => answer.destroy());
    answer.on('close', () => onward.destroy());
    onward.end(data);
  });
});

function withKnown(body) {
  const tool = (body.tools ?? []).find((one) => (one.function ?? one).name === known.name);
  if (tool === undefined) return body;
  const properties = Object.fromEntries(
    Object.entries(known.input).map(([name, value]) => [name, { const: value }]),
  );
  const required = Object.keys(properties);
  const schema = { type: 'object', properties, required, additionalProperties: false };
  const { name } = known;
  const key = 'input_schema' in tool ? 'input_schema' : 'parameters';
  const told = { ...(tool.function ?? tool), [key]: schema };
  const one = tool.function === undefined ? told : { ...tool, function: told };
  const choice =
    key === 'input_schema'
      ? { type: 'tool', name }
      : tool.function === undefined
        ? { type: 'function', name }
        : { type: 'function', function: { name } };
  const tools = body.tools.map((other) => (other === tool ? one : other));
  if (!isForced) return { ...body, tools };
  isForced = false;
  return { ...body, tools, tool_choice: choice };
}

/** The last figures of an answer in any of the three APIs. */
function usageOf(text) {
  const last = (pattern) => Number([...text.matchAll(pattern)].at(-1)?.[1] ?? 0);
  const cached = last(/"(?:cached_tokens|cache_read_input_tokens)":(\d+)/g);
  const input = last(/"(?:prompt_tokens|input_tokens)":(\d+)/g);
  // Messages count what was read anew only.
  return { input: /cache_read_input_tokens/.test(text) ? input + cached : input, cached };
}

/** Tokens of what a model is given, as a well-known tokenizer counts them. */
function tokensOf(body) {
  const { tools = [], system = '', instructions = '', messages = [], input = [] } = body;
  const texts = [
    ...tools.map((one) => JSON.stringify(one)),
    typeof system === 'string' ? system : system.map(({ text }) => text).join('\n'),
    instructions,
    ...(Array.isArray(input) ? input : [{ content: input }]).map(contentOf),
    ...messages.map(contentOf),
  ];
  return texts.reduce((sum, text) => sum + encoding.encode(text, 'all').length, 0);
}

function contentOf({ content }) {
  if (typeof content === 'string') return content;
  return (content ?? []).map(({ text = '' }) => text).join('\n');
}

async function running() {
  const status = await (await fetch(`http://127.0.0.1:${values.port}/status`)).json();
  return status.queue.running;
}

const asks = () =>
  seen.filter(({ path }) => /\/(chat\/completions|messages|responses)$/.test(path));

async function tried(id, from) {
  const client = CLIENTS[id];
  const folder = mkdtempSync(join(tmpdir(), `flashmoe-clients-${id}-`));
  const home = join(folder, 'home');
  const project = join(folder, 'project');
  mkdirSync(home);
  mkdirSync(project);
  writeFileSync(join(project, 'notes.txt'), 'Nothing yet.\n');
  execFileSync('git', ['init', '-q', project]);
  const bins = readdirSync(values.clients).map((name) =>
    join(values.clients, name, 'node_modules', '.bin'),
  );
  const env = {
    ...process.env,
    HOME: home,
    FLASHMOE_HOME: join(folder, 'models'),
    PATH: [join(values.clients, 'node', 'bin'), ...bins, process.env.PATH].join(delimiter),
  };
  const start = (program, args) => {
    const child = spawn(program, args, { cwd: project, env, stdio: ['ignore', 'pipe', 'pipe'] });
    let text = '';
    child.stdout.on('data', (part) => (text += part));
    child.stderr.on('data', (part) => (text += part));
    const ended = new Promise((done) => child.on('close', (status) => done({ status, text })));
    return { child, ended };
  };
  const ours = (args) => start(process.execPath, [flashmoe, ...args]);
  const port = String(from);
  const turn = (words) =>
    client.program === undefined
      ? ours(['launch', '--port', port, id, '--', ...words])
      : start(client.program, words);
  const result = { client: id };
  const say = (what, { status, text }) => {
    console.error(`${id}: ${what}: exit ${status}\n${text.slice(-1500)}\n`);
  };
  if (client.program !== undefined) {
    say('connect', await ours(['connect', id, '--port', port]).ended);
  }
  if (client.list !== undefined) {
    if (client.program === undefined) await ours(['connect', id, '--port', port]).ended;
    const list = await start(client.list.program, client.list.args).ended;
    result.lists = /flashmoe/.test(list.text);
    say('list', list);
  }

  seen.length = 0;
  known = client.tool;
  const left = turn(client.say('Reply with exactly: ok'));
  let isOver = false;
  void left.ended.then(() => (isOver = true));
  while (!isOver && (asks().length === 0 || !(await running()))) await sleep(100);
  await sleep(2000);
  const stopped = performance.now();
  left.child.kill('SIGTERM');
  while ((await running()) && performance.now() - stopped < 60_000) await sleep(50);
  result.cancelSeconds = Math.round(performance.now() - stopped) / 1000;
  say('cancelled', await left.ended);

  seen.length = 0;
  const first = await turn(client.say('Reply with exactly: ok')).ended;
  say('first turn', first);
  result.accepted = first.status === 0;
  const main = asks().sort((a, b) => JSON.stringify(b.body).length - JSON.stringify(a.body).length);
  result.streamed = main[0]?.body.stream === true && main[0]?.status === 200;
  result.firstPrompt = main[0] === undefined ? null : tokensOf(main[0].body);
  result.inTheModelsTokens = main[0]?.input;

  if (client.again !== null) {
    seen.length = 0;
    say('second turn', await turn(client.again('And once more.')).ended);
    const next = asks().find(({ cached }) => cached > 0) ?? asks()[0];
    result.second = next === undefined ? null : { input: next.input, cached: next.cached };
  }

  seen.length = 0;
  isForced = true;
  const call = turn(client.say('Run the command.'));
  const patience = setTimeout(() => call.child.kill('SIGTERM'), 600_000);
  say('tool', await call.ended);
  clearTimeout(patience);
  result.toolCame = !isForced;
  isForced = false;
  const back = asks().slice(1);
  result.toolResult = back.some(({ body }) => lastOf(body).includes(MARK));
  result.requests = seen.map(({ method, path, status }) => `${method} ${path} ${status}`);
  result.refused = seen.filter(({ said }) => said !== undefined).map(({ said }) => said);
  rmSync(folder, { recursive: true, force: true });
  return result;
}

/** What stands behind the last thing that the model said. */
function lastOf(body) {
  return JSON.stringify((body.messages ?? body.input ?? []).slice(-3));
}

await new Promise((done) => proxy.listen(0, '127.0.0.1', done));
for (const id of positionals.length > 0 ? positionals : Object.keys(CLIENTS)) {
  console.log(JSON.stringify(await tried(id, proxy.address().port)));
}
proxy.close();
proxy.closeAllConnections();
