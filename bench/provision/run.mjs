// `make bench-provision`: one table from one run. A generated model on a loopback hub in its own process is set up at 4 and at
// 2 bits and fetched by aria2c, all to the same disk; then the requantiser alone, and a setup that is killed again and again.
// Markdown on standard output, for docs/performance.md.
// Usage: node run.mjs [--gb 8] [--kills 100] [--kill-rate 40] (MB/s) [--folder DIR] [--only 4bit,aria2c,2bit,original,requantise,kills,profile]
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { lstatSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { costs } from './profile.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const { values } = parseArgs({
  options: {
    gb: { type: 'string', default: '8' },
    kills: { type: 'string', default: '100' },
    'kill-rate': { type: 'string', default: '40' },
    folder: { type: 'string', default: join(tmpdir(), 'flashmoe-bench-provision') },
    only: { type: 'string', default: '4bit,aria2c,2bit,original,requantise,kills,profile' },
  },
});
const parts = new Set(values.only.split(','));
const say = (text) => process.stderr.write(`${text}\n`);
const rows = [];
const row = (figure, measured, target = '') => {
  say(`${figure}: ${measured}`);
  rows.push(`| ${figure} | ${measured} | ${target} |`);
};
const mega = (bytes) => (bytes / 1e6).toFixed(0);
const percent = (share) => `${(100 * share).toFixed(2)} %`;

async function startHub(bytesPerSecond = 0, kind = 'conversion') {
  const args = [join(here, 'hub.mjs'), values.gb, String(bytesPerSecond), kind];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit', 'ipc'] });
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  const info = JSON.parse((await lines.next()).value);
  // A connection of its own: a kept one may have been closed while a setup was waited for.
  const headers = { connection: 'close' };
  const sent = async () => (await (await fetch(`${info.endpoint}/sent`, { headers })).json()).sent;
  return { ...info, sent, close: () => child.disconnect() };
}

/** Bytes that a folder takes on disk; what goes while it is looked at counts as nothing. */
function diskUse(folder) {
  let bytes = 0;
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    const status = lstatSync(path, { throwIfNoEntry: false });
    if (status?.isDirectory()) bytes += diskUse(path);
    else bytes += (status?.blocks ?? 0) * 512;
  }
  return bytes;
}

/** Runs a program and watches what its folder takes; resolves with its output, its seconds and that peak. */
async function watched(command, args, folder) {
  const began = performance.now();
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  child.stdout.on('data', (text) => (output += text));
  let peak = 0;
  const timer = setInterval(() => (peak = Math.max(peak, diskUse(folder))), 25);
  const status = await new Promise((resolve) =>
    child.once('close', (code, signal) => resolve(signal ?? code)),
  );
  clearInterval(timer);
  return { output, status, seconds: (performance.now() - began) / 1000, peak };
}

function emptyFolder(name) {
  const folder = join(values.folder, name);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  execFileSync('sync');
  return folder;
}

const setupArgs = (home, { endpoint, repo }, quant) => [
  join(here, 'setup.mjs'),
  home,
  endpoint,
  repo,
  quant,
];

async function setUp(hub, quant) {
  const home = emptyFolder(quant);
  const before = await hub.sent();
  const { output, status, peak } = await watched(
    process.execPath,
    setupArgs(home, hub, quant),
    home,
  );
  if (status !== 0) throw new Error(`the setup ended with ${status}`);
  const result = JSON.parse(output);
  if (result.failure !== null) throw new Error(result.failure);
  const final = diskUse(join(home, 'models'));
  const wasted = (await hub.sent()) - before - hub.bytes;
  rmSync(home, { recursive: true });
  return { ...result, peak, final, wasted, rate: hub.bytes / result.seconds };
}

async function aria2c(hub) {
  const folder = emptyFolder('aria2c');
  const list = join(folder, 'list');
  const entry = ({ url, path, sha256 }) => `${url}\n  out=${path}\n  checksum=sha-256=${sha256}\n`;
  writeFileSync(list, hub.shards.map(entry).join(''));
  const args = [
    '-x8',
    '--no-conf',
    '--quiet',
    '--file-allocation=none',
    `--dir=${folder}`,
    `-i${list}`,
  ];
  const { status, seconds } = await watched('aria2c', args, folder);
  if (status !== 0) throw new Error(`aria2c ended with ${status}`);
  const synced = performance.now();
  execFileSync('sync', ['-f', folder]);
  const durable = seconds + (performance.now() - synced) / 1000;
  rmSync(folder, { recursive: true });
  return { rate: hub.bytes / seconds, durable: hub.bytes / durable };
}

function requantiser() {
  const native = join(here, '..', '..', 'native');
  const binary = join(values.folder, 'requantise');
  const sources = readdirSync(join(native, 'quant')).filter((name) => name.endsWith('.cpp'));
  execFileSync(process.env.CXX ?? 'c++', [
    ...['-std=c++20', '-O2', '-fno-math-errno', `-I${native}`, join(here, '..', 'requantise.cpp')],
    ...sources.map((name) => join(native, 'quant', name)),
    ...['-o', binary],
  ]);
  // One line an instruction set, the best one last.
  const lines = execFileSync(binary, { encoding: 'utf8' }).trim().split('\n');
  const { isa, search, minmax, weighed } = JSON.parse(lines.at(-1));
  row(
    `requantiser alone, one core (${isa}), 4-bit input: search`,
    `${mega(search)} MB/s`,
    '≥ 500 MB/s',
  );
  row('the same, weighed by a calibration', `${mega(weighed)} MB/s`);
  row('the same, min/max', `${mega(minmax)} MB/s`, '≥ 1500 MB/s');
  const env = { ...process.env, OMP_NUM_THREADS: '1' };
  const numpy = spawnSync('python3', [join(here, 'requantise.py')], { env, encoding: 'utf8' });
  if (numpy.status === 0)
    row('the same work in numpy, one core', `${mega(Number(numpy.stdout))} MB/s`);
  else say('SKIP numpy: python3 with numpy is not here (apt install python3-numpy)');
}

/** BF16 in, 4 bits out, beside aria2c on the same bytes. */
async function original() {
  const hub = await startHub(0, 'original');
  const made = await setUp(hub, '4bit');
  row('an original in BF16 to 4 bits', `${mega(made.rate)} MB/s of BF16`);
  row('its CPU time', `${(made.cpu / (hub.bytes / 1e9)).toFixed(2)} s/GB`, 'reported');
  row('its peak disk, promised', `${mega(made.peak)} MB, ${mega(made.promise)} MB`, 'within');
  if (!spawnSync('aria2c', ['--version']).error) {
    const { rate } = await aria2c(hub);
    row('aria2c -x8 with checksums on the same bytes', `${mega(rate)} MB/s`);
    row('the original against aria2c', (made.rate / rate).toFixed(2), '≥ 0.5');
  }
  hub.close();
}

/** A setup that is killed at random moments until it was killed often enough, then finishes. */
async function kills() {
  const hub = await startHub(Number(values['kill-rate']) * 1e6);
  const home = emptyFolder('kills');
  const wanted = Number(values.kills);
  const each = (hub.bytes / (Number(values['kill-rate']) * 1e6) / (wanted + 1)) * 1000;
  let killed = 0;
  for (; killed < wanted; killed += 1) {
    const child = spawn(process.execPath, setupArgs(home, hub, '4bit'), { stdio: 'ignore' });
    const ended = new Promise((resolve) =>
      child.once('close', (code, signal) => resolve(signal ?? code)),
    );
    const start = await hub.sent();
    // A random share of the bytes, not of the time: starting a process takes a time of its own.
    const until = start + Math.random() * 2 * each * Number(values['kill-rate']) * 1000;
    let status;
    ended.then((how) => (status = how));
    while (status === undefined && (await hub.sent()) < until) await sleep(5);
    child.kill('SIGKILL');
    await ended;
    if (status === 0) break;
  }
  const last = spawnSync(process.execPath, setupArgs(home, hub, '4bit'), { encoding: 'utf8' });
  if (last.status !== 0) throw new Error(`after ${killed} kills the setup failed: ${last.stderr}`);
  const wasted = (await hub.sent()) - hub.bytes;
  hub.close();
  rmSync(home, { recursive: true });
  row(
    `bytes sent in vain by the hub over ${killed} SIGKILLs at random bytes (${values['kill-rate']} MB/s)`,
    `${percent(wasted / hub.bytes)}, ${(wasted / 1e6 / Math.max(1, killed)).toFixed(2)} MB a kill`,
    '≤ 1 %',
  );
}

/** Where the CPU time of a setup goes, from perf. */
async function profile(hub) {
  const home = emptyFolder('profile');
  const data = join(values.folder, 'perf.data');
  const args = [
    'record',
    '-q',
    '-F',
    '199',
    '-o',
    data,
    process.execPath,
    ...setupArgs(home, hub, '4bit'),
  ];
  const { error } = spawnSync('perf', ['--version']);
  if (error) return say('SKIP profile: perf is not here');
  const { status } = await watched('perf', args, home);
  if (status !== 0) return say(`SKIP profile: perf record ended with ${status}`);
  const report = execFileSync(
    'perf',
    ['report', '-i', data, '--no-children', '--sort', 'dso,symbol', '--stdio'],
    {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
      maxBuffer: 1 << 26,
    },
  );
  const text = costs(report).map(([name, share]) => `${name} ${share.toFixed(0)} %`);
  row(
    'largest costs of the 4-bit setup, share of its CPU time',
    text.slice(0, 3).join('; '),
    'reported',
  );
  rmSync(home, { recursive: true });
}

mkdirSync(values.folder, { recursive: true });
const hub = await startHub();
let [four, two, aria] = [null, null, null];
if (parts.has('4bit')) four = await setUp(hub, '4bit');
if (parts.has('aria2c')) {
  if (spawnSync('aria2c', ['--version']).error)
    say('SKIP aria2c: it is not here (apt install aria2)');
  else aria = await aria2c(hub);
}
if (parts.has('2bit')) two = await setUp(hub, '2bit');
if (four !== null) row('fetch, verify, pack at 4 bits, synced', `${mega(four.rate)} MB/s`);
if (aria !== null) {
  row(
    'aria2c -x8 with checksums',
    `${mega(aria.rate)} MB/s; ${mega(aria.durable)} MB/s until synced`,
  );
  if (four !== null) row('4 bits against aria2c', (four.rate / aria.rate).toFixed(2), '≥ 0.9');
}
if (two !== null) row('fetch, verify, pack at 2 bits', `${mega(two.rate)} MB/s`);
if (two !== null && four !== null)
  row('2 bits against 4 bits', (two.rate / four.rate).toFixed(2), '≥ 0.9');
for (const [name, result] of [
  ['4 bits', four],
  ['2 bits', two],
]) {
  if (result === null) continue;
  const { peak, final, promise, peakResident, cpu } = result;
  row(`${name}: peak disk over final size`, percent(peak / final - 1), '≤ 1 %');
  row(`${name}: peak disk, promised`, `${mega(peak)} MB, ${mega(promise)} MB`, 'within');
  row(`${name}: peak RSS`, `${mega(peakResident)} MB`, '≤ 300 MB');
  row(`${name}: CPU time`, `${(cpu / (hub.bytes / 1e9)).toFixed(2)} s/GB`, 'reported');
}
if (parts.has('profile')) await profile(hub);
hub.close();
if (parts.has('original')) await original();
if (parts.has('requantise')) requantiser();
if (parts.has('kills')) await kills();
const machine = `${cpus().length} × ${cpus()[0].model}, load ${loadavg()[0].toFixed(1)} at the end`;
console.log(`${(hub.bytes / 1e9).toFixed(2)} GB of generated model; ${machine}\n`);
console.log(`| figure | measured | target |\n| --- | --- | --- |\n${rows.join('\n')}`);
process.exit(0);
