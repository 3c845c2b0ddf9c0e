// Answers at once, as clients see them: node bench/streams.mjs [FOLDER] [--runs N] [--threads N] [--addon FILE]
// Packs a checkpoint (the bundled one), serves it in a process of its own with four sessions, and asks it over HTTP. Prints, as rows of
// docs/performance.md, the time to the first token of a short prompt alone, beside a long answer and beside a long prompt that is read,
// and the tokens a second of one, two and four answers at once, also for a second of the server's CPU time, which a busy machine changes less. `--addon` is another build to compare with.
import { fork } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { performance } from 'node:perf_hooks';
import { parseArgs } from 'node:util';
import { importSources } from '../tools/typescript.mjs';

const root = resolve(import.meta.dirname, '..');
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    runs: { type: 'string', default: '7' },
    threads: { type: 'string', default: '2' },
    addon: { type: 'string', default: join(root, 'build', 'Release', 'flashmoe.node') },
    serve: { type: 'string' },
  },
});
const [checkpoint = join(root, 'models', 'tiny')] = positionals;
/** Of the bundled model, which was trained with less: what it says then means nothing, and takes as long. */
const CONTEXT = 32_768;
if (values.serve !== undefined) await serveFrom(values.serve);
else await measure();

async function serveFrom(folder) {
  const { loadAddon, packDirectory, openEngine, serve } = await importSources(
    'addon/load',
    'repack/pack-directory',
    'engine/open-engine',
    'server/serve',
  );
  const { addon } = loadAddon([values.addon]);
  const threads = Number(values.threads);
  const source = join(folder, 'source');
  const packed = await packDirectory(source, join(folder, 'model'), {
    ...{ addon, threads, quant: '4bit' },
  });
  const states = { root: join(folder, 'states'), maxBytes: 1e9, version: '0', now: Date.now };
  const server = await serve({
    ...{ port: 0, modelId: 'tiny', version: '0', now: Date.now, emit: () => undefined },
    load: () =>
      openEngine({
        ...{ addon, id: 'tiny', ...packed, threads, ioThreads: 2, sessions: 4 },
        states: { ...states, notice: (error) => console.error(error.message) },
      }),
  });
  await server.modelSettled;
  process.send(server.url);
  process.on('message', () => process.send(process.cpuUsage()));
  process.once('disconnect', () => void server.close(0));
}

async function measure() {
  const folder = mkdtempSync(join(tmpdir(), 'flashmoe-streams-'));
  const source = join(folder, 'source');
  cpSync(checkpoint, source, { recursive: true });
  const config = JSON.parse(readFileSync(join(source, 'config.json'), 'utf8'));
  const text = config.text_config ?? config;
  text.max_position_embeddings = Math.max(text.max_position_embeddings, CONTEXT);
  writeFileSync(join(source, 'config.json'), JSON.stringify(config));
  const { threads, addon } = values;
  const flags = ['--serve', folder, '--threads', threads, '--addon', addon];
  const server = fork(import.meta.filename, flags);
  try {
    const url = await new Promise((done, fail) => {
      server.once('message', done);
      server.once('exit', () => fail(new Error('the server did not start')));
    });
    const { loadTokenizer } = await importSources('engine/tokenizer');
    const { controlTokens } = await loadTokenizer(source);
    const cpuSeconds = async () => {
      server.send('cpu');
      const { user, system } = await new Promise((done) => server.once('message', done));
      return (user + system) / 1e6;
    };
    await ask(url, cpuSeconds, Object.fromEntries(controlTokens.map(({ id }) => [id, -100])));
  } finally {
    server.disconnect();
    await new Promise((done) => server.once('exit', done));
    rmSync(folder, { recursive: true });
  }
}

/** @param cpuSeconds of the server so far; @param ends forbids what would end an answer before its limit */
async function ask(url, cpuSeconds, ends) {
  const runs = Number(values.runs);
  let seed = 0;

  /** Calls `each` with the milliseconds since the request at every piece of text; returns the tokens of the answer. */
  async function stream(content, maxTokens, { each = () => undefined, signal } = {}) {
    const started = performance.now();
    const response = await fetch(`${url}/v1/chat/completions`, {
      method: 'POST',
      body: JSON.stringify({
        messages: [{ role: 'user', content }],
        ...{ enable_thinking: false, max_tokens: maxTokens, temperature: 1.5, seed: ++seed },
        ...{ stream: true, stream_options: { include_usage: true }, logit_bias: ends },
      }),
      signal,
    });
    if (response.status !== 200) throw new Error(await response.text());
    let tokens = 0;
    let rest = '';
    const decoder = new TextDecoder();
    for await (const part of response.body) {
      const lines = (rest + decoder.decode(part, { stream: true })).split('\n\n');
      rest = lines.pop();
      for (const line of lines.filter((one) => one.startsWith('data: {'))) {
        const { choices, usage } = JSON.parse(line.slice('data: '.length));
        tokens = usage?.completion_tokens ?? tokens;
        if ((choices?.[0]?.delta?.content ?? '') !== '') each(performance.now() - started);
      }
    }
    return tokens;
  }

  /** Milliseconds to the first token of some twenty that nobody asked before; the median. */
  async function firstToken() {
    const times = [];
    for (let i = 0; i < runs; i++) {
      let at = null;
      await stream(`What is ${seed + 12} + 30?`, 2, { each: (ms) => (at ??= ms) });
      times.push(at);
    }
    return median(times);
  }

  /** That while something else goes on, which has begun and goes on until after the last of them. */
  async function besides(content, maxTokens, hasBegun) {
    const left = new AbortController();
    let isOver = false;
    let begin;
    const begun = new Promise((done) => (begin = done));
    const other = stream(content, maxTokens, { signal: left.signal, each: begin })
      .then(() => (isOver = true))
      .catch((error) => {
        if (error.name !== 'AbortError') throw error;
      });
    await (hasBegun ?? begun);
    const ms = await firstToken();
    const tooSoon = isOver ? ' (it ended before the last of them)' : '';
    left.abort();
    await other;
    return `${ms.toFixed(1)} ms, ${(ms / alone).toFixed(1)} x${tooSoon}`;
  }

  await firstToken();
  const alone = await firstToken();
  tell('first token of a short prompt', `${alone.toFixed(1)} ms`);
  tell('beside an answer of 1,500 tokens', await besides('Count.', 1500));
  const long = 'The code of item one is nine. '.repeat(1700);
  const second = new Promise((done) => setTimeout(done, 1000));
  tell('beside a prompt of 20,000 tokens that is read', await besides(long, 1, second));
  for (const count of [1, 2, 4]) {
    const rates = [];
    const perCpu = [];
    for (let i = 0; i < 3; i++) {
      const before = await cpuSeconds();
      const started = performance.now();
      const streams = Array.from({ length: count }, () => stream('Count.', 300));
      const tokens = (await Promise.all(streams)).reduce((sum, each) => sum + each, 0);
      rates.push((1000 * tokens) / (performance.now() - started));
      perCpu.push(tokens / ((await cpuSeconds()) - before));
    }
    const [rate, each] = [median(rates), median(perCpu)].map((value) => value.toFixed(0));
    tell(`${count} at once`, `${rate} tok/s together, ${each} for a second of CPU time`);
  }
}

function median(list) {
  return list.sort((a, b) => a - b)[Math.floor(list.length / 2)];
}

function tell(...cells) {
  process.stdout.write(`| ${cells.join(' | ')} |\n`);
}
