// `make bench`: one table from one run. flashmoe and llama.cpp decode and prefill the same shape with random weights,
// in memory and with memory limited to a third of the model, beside what the machine's memory and disk allow.
// Usage: node run.mjs [--layers 12] [--prompt 512] [--decode 64] [--runs 3] [--folder DIR] [--json FILE]
import { execFileSync } from 'node:child_process';
import { statSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
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
    decode: { type: 'string', default: '64' },
    runs: { type: 'string', default: '3' },
    folder: { type: 'string', default: join(tmpdir(), 'flashmoe-bench') },
    json: { type: 'string' },
  },
});
const threads = availableParallelism();
const work = JSON.stringify({
  prompt: Number(values.prompt),
  decode: Number(values.decode),
  threads,
});
const say = (text) => process.stderr.write(`${text}\n`);

function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}

/** Median of each number over several runs of one command. */
async function measured(run, args, before) {
  const results = [];
  for (let i = 0; i < Number(values.runs); i++) {
    before();
    results.push(await run(args));
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
const ours = { flashmoe: [process.execPath, join(here, 'ours.mjs'), packed, work] };
const peer = (path) => [process.execPath, join(here, 'peer.mjs'), path, work];
const expertBytes = 3 * 768 * 2048 * 0.5625;
const machine = bandwidth(repacked, expertBytes);
const rows = [];

async function setting(name, engines, run, before) {
  const results = {};
  for (const [engine, args] of Object.entries(engines)) {
    say(`${name}: ${engine}`);
    try {
      results[engine] = await measured(run, args, before);
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
  { ...ours, 'llama.cpp': peer(repacked) },
  runJson,
  () => undefined,
);
let limited = null;
try {
  const limit = memoryLimit(Math.round(modelBytes / 3));
  // Q4_0 would be copied into memory that isn't there; Q4_1 is read where it is mapped.
  limited = await setting(
    'a third',
    { ...ours, 'llama.cpp': peer(mapped) },
    (args) => limit.run(args),
    dropCaches,
  );
  limit.close();
} catch (error) {
  say(`no memory limit on this machine: ${error.message}`);
}

const out = [];
out.push(
  `model ${gigabytes(modelBytes)} GB, ${values.layers} layers, prompt ${values.prompt}, decode ${values.decode}, ${threads} threads, median of ${values.runs}`,
);
out.push(
  `memory bandwidth ${gigabytes(machine.memory)} GB/s, uncached expert reads ${gigabytes(machine.disk)} GB/s`,
);
out.push('');
out.push(
  '| setting | engine | prefill tok/s | decode tok/s | disk GB prefill | disk MB/token decode | peak RSS GB |',
);
out.push('|---|---|---|---|---|---|---|');
for (const row of rows) {
  out.push(
    `| ${row.setting} | ${row.engine} | ${number(row.prefillRate)} | ${number(row.decodeRate, 2)} | ${gigabytes(row.prefillDiskBytes)} | ${number(row.decodeDiskBytes / Number(values.decode) / 1e6)} | ${gigabytes(row.peakResident)} |`,
  );
}
out.push('');
for (const [name, results, resource] of [
  ['in memory', inMemory, machine.memory],
  ['a third', limited, machine.disk],
]) {
  const mine = results?.flashmoe;
  const other = results?.['llama.cpp'];
  if (!mine) continue;
  if (other)
    out.push(
      `${name}: prefill ${number(mine.prefillRate / other.prefillRate, 2)} x, decode ${number(mine.decodeRate / other.decodeRate, 2)} x the peer`,
    );
  const bytes =
    name === 'in memory'
      ? mine.decodeExpertBytes + mine.info.denseBytes - embeddingBytes()
      : mine.decodeDiskBytes / Number(values.decode);
  out.push(
    `${name}: decode at ${number((100 * mine.decodeRate * bytes) / resource)} % of what ${gigabytes(resource)} GB/s allow for ${number(bytes / 1e6)} MB a token`,
  );
}

/** One row of the embedding table is read per token, not the table. */
function embeddingBytes() {
  return 151936 * 2048 * 0.5625;
}

const text = out.join('\n');
process.stdout.write(`${text}\n`);
if (values.json !== undefined)
  writeFileSync(values.json, JSON.stringify({ machine, rows }, null, 2));
