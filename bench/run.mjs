// `make bench`: one table from one run. flashmoe and llama.cpp decode and prefill the same shape with random weights,
// in memory and with memory limited to a third of the model, beside what the machine's memory and disk allow.
// Markdown on standard output, for docs/performance.md.
// Usage: node run.mjs [--layers 12] [--prompt 512] [--decode 32] [--runs 3] [--folder DIR] [--json FILE]
import { execFileSync } from 'node:child_process';
import { statSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { makeModel } from './make-model.mjs';
import { dropCaches, memoryLimit, runJson } from './memory-limit.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const { values } = parseArgs({
  options: {
    layers: { type: 'string', default: '12' },
    prompt: { type: 'string', default: '512' },
    decode: { type: 'string', default: '32' },
    runs: { type: 'string', default: '3' },
    folder: { type: 'string', default: join(tmpdir(), 'flashmoe-bench') },
    json: { type: 'string' },
  },
});
const threads = availableParallelism();
const decode = Number(values.decode);
// So that the whole ends within ten minutes, whatever one engine makes of a memory that is too small for it.
const SECONDS = 120;
const work = (onThreads, more = {}) =>
  JSON.stringify({
    ...more,
    prompt: Number(values.prompt),
    decode,
    threads: onThreads,
    decodeSeconds: SECONDS / 4,
  });
const say = (text) => process.stderr.write(`${text}\n`);

function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}

/** Median of each number over several runs of one command. */
async function measured(run, args, runs, before) {
  const results = [];
  for (let i = 0; i < runs; i++) {
    before();
    results.push(await run(args, SECONDS));
  }
  const keys = Object.keys(results[0]).filter((key) => typeof results[0][key] === 'number');
  return {
    ...results[0],
    ...Object.fromEntries(keys.map((key) => [key, median(results.map((r) => r[key]))])),
  };
}

function bandwidth(file, expertBytes) {
  const binary = join(values.folder, 'bandwidth');
  execFileSync(process.env.CXX ?? 'c++', [
    '-O3',
    '-march=native',
    '-std=c++20',
    '-pthread',
    join(here, 'bandwidth.cpp'),
    '-o',
    binary,
  ]);
  return JSON.parse(
    execFileSync(binary, [file, String(expertBytes), String(threads)], { encoding: 'utf8' }),
  );
}

const number = (value, digits = 1) => (Number.isFinite(value) ? value.toFixed(digits) : '–');
const gigabytes = (value) => number(value / 1e9, 2);

const { packed, repacked, mapped } = await makeModel(values.folder, Number(values.layers));
const modelBytes = statSync(repacked).size;
const ours = (onThreads, more) => [
  process.execPath,
  join(here, 'ours.mjs'),
  packed,
  work(onThreads, more),
];
const peer = (path) => [process.execPath, join(here, 'peer.mjs'), path, work(threads)];
const expertBytes = 3 * 768 * 2048 * 0.5625;
const load = loadavg()[0];
const machine = bandwidth(repacked, expertBytes);
const rows = [];

async function setting(name, engines, run, runs, before) {
  const results = {};
  for (const [engine, args] of Object.entries(engines)) {
    say(`${name}: ${engine}`);
    try {
      results[engine] = await measured(run, args, runs, before);
    } catch (error) {
      say(`${name}: ${engine}: ${error.message}`);
    }
  }
  for (const [engine, result] of Object.entries(results))
    rows.push({ setting: name, engine, ...result });
  return results;
}

// The first run of each engine warms the page cache; medians of three are of warm runs.
const inMemory = await setting(
  'in memory',
  {
    flashmoe: ours(threads),
    'flashmoe, exact': ours(threads, { arithmetic: 'exact' }),
    ...(threads > 1 ? { 'flashmoe, 1 thread': ours(1) } : {}),
    'llama.cpp, Q4_0': peer(repacked),
    'llama.cpp, Q4_1': peer(mapped),
  },
  runJson,
  Number(values.runs),
  () => undefined,
);
let limited = null;
try {
  const memoryBytes = Math.round(modelBytes / 3);
  const limit = memoryLimit(memoryBytes);
  // Q4_0 would be copied into memory that isn't there; Q4_1 is read where it is mapped. One run: each begins with an
  // empty cache, and the peer takes minutes.
  limited = await setting(
    'a third',
    {
      flashmoe: ours(threads, { memoryBytes }),
      'flashmoe, direct reads': ours(threads, { memoryBytes, directReads: true }),
      'llama.cpp, Q4_1': peer(mapped),
    },
    (args, seconds) => limit.run(args, seconds),
    1,
    dropCaches,
  );
  limit.close();
} catch (error) {
  say(`no memory limit on this machine: ${error.message}`);
}

const out = [];
out.push(
  `${cpus()[0].model.trim()}, ${threads} threads: memory ${gigabytes(machine.memory)} GB/s, uncached expert reads ${gigabytes(machine.disk)} GB/s; load ${number(load)} at the start`,
);
out.push(
  `model ${gigabytes(modelBytes)} GB, ${values.layers} layers; prompt ${values.prompt}, decode ${decode}; median of ${values.runs} in memory, one run in a third of it`,
);
out.push('');
out.push(
  '| setting | engine | prefill tok/s | decode tok/s | experts there | read MB/token | waits/token | disk GB prefill | disk MB/token decode | peak RSS GB | RssAnon, planned GB |',
);
out.push('|---|---|---|---|---|---|---|---|---|---|---|');
for (const row of rows) {
  out.push(
    `| ${row.setting} | ${row.engine} | ${prefillRate(row)} | ${number(row.decodeRate, 2)} | ${number(100 * row.decodeHits)} % | ${number(row.decodeReadBytes / 1e6)} | ${number(row.decodeWaits)} | ${gigabytes(row.prefillDiskBytes)} | ${number(row.decodeDiskBytes / 1e6)} | ${gigabytes(row.peakResident)} | ${gigabytes(row.anonymous)}, ${gigabytes(row.planned)} |`,
  );
}
out.push('');
for (const [name, results] of [
  ['in memory', inMemory],
  ['a third', limited],
]) {
  const mine = results?.flashmoe;
  // The faster of the two, figure by figure.
  const others = Object.entries(results ?? {}).filter(([engine]) => engine.startsWith('llama.cpp'));
  const best = (key) =>
    Math.max(...others.map(([, result]) => result[key]).filter(Number.isFinite));
  if (!mine) continue;
  if (others.length > 0)
    out.push(
      `${name}: prefill ${number(mine.prefillRate / best('prefillRate'), 2)} x, decode ${number(mine.decodeRate / best('decodeRate'), 2)} x the peer  `,
    );
  out.push(`${name}: ${boundLine(mine)}  `);
}

/** A token's weights pass through memory once, and what the page cache lacks comes from the disk meanwhile. */
function boundLine(mine) {
  const weights = mine.decodeExpertBytes + mine.info.denseBytes - embeddingBytes();
  const fetched = mine.decodeDiskBytes;
  const [limit, seconds] = [
    [`${number(weights / 1e6)} MB through memory`, weights / machine.memory],
    [`${number(fetched / 1e6)} MB from the disk`, fetched / machine.disk],
  ].reduce((slower, each) => (each[1] > slower[1] ? each : slower));
  return `decode at ${number(100 * mine.decodeRate * seconds)} % of the bound, ${limit} a token; ${number(100 * mine.decodeWaitShare)} % of the time waits for experts`;
}

/** Of a prompt that didn't end in time it is known only how slow it is at least. */
function prefillRate(row) {
  if (row.prefillRate !== undefined) return number(row.prefillRate);
  return `< ${number(Number(values.prompt) / row.cut)}`;
}

/** One row of the embedding table is read per token, not the table. */
function embeddingBytes() {
  return 151936 * 2048 * 0.5625;
}

const text = out.join('\n');
process.stdout.write(`${text}\n`);
if (values.json !== undefined)
  writeFileSync(values.json, JSON.stringify({ machine, rows }, null, 2));
