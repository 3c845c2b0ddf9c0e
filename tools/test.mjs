// `make test`, or some of its parts: `node tools/test.mjs lint metal`, `make test-metal`. Every part runs even when an earlier
// one failed, so that one run shows all there is to mend; parts run beside each other as far as there are cores for them.
// Closes with `N passed, N failed` on a line of its own; exits 1 when anything failed.
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const cores = availableParallelism();

/** A part that takes this long hangs: its processes are ended, it counts as failed, and the next one begins. */
const LIMIT_MINUTES = 40;

/** Tests that take long, by what makes them slow; all others are the part `unit`. */
const SLOW = {
  metal: ['test/metal/'],
  kill: [
    'test/installer/failing-disk.test.ts',
    'test/installer/kill.test.ts',
    'test/installer/power-cut.test.ts',
    'test/installer/random-kill.test.ts',
    'test/store/move-kill.test.ts',
  ],
  browser: ['test/page/'],
};

const bin = (name) => resolve(root, 'node_modules', '.bin', name);
const make = (target) => ({
  command: 'make',
  args: [`-j${cores}`, '-C', 'native', target],
  cores,
  count: nativeCounts,
});

/** In the order in which they begin. `cores`: how many one keeps busy. */
const PARTS = {
  typecheck: { command: bin('tsc'), args: ['-p', 'tsconfig.json'], cores: 1, count: asOne },
  lint: { command: bin('eslint'), args: ['.'], cores: 1, count: asOne },
  format: {
    command: bin('prettier'),
    args: ['--check', '--log-level', 'warn', '.'],
    cores: 1,
    count: asOne,
  },
  unused: { command: bin('knip'), args: [], cores: 1, count: asOne },
  unit: vitest('unit', ['--exclude', ...Object.values(SLOW).flat().map(withAll)]),
  kill: vitest('kill', SLOW.kill),
  metal: vitest('metal', SLOW.metal),
  browser: vitest('browser', SLOW.browser),
  native: make('test'),
  sanitized: make('sanitized'),
};

function withAll(path) {
  return path.endsWith('/') ? `${path}**` : path;
}

function vitest(part, chosen) {
  const report = resolve(root, 'build', `vitest-${part}.json`);
  const [first, ...rest] = chosen;
  // vitest takes one pattern behind each --exclude.
  const args = first === '--exclude' ? rest.flatMap((each) => ['--exclude', each]) : chosen;
  return {
    command: bin('vitest'),
    args: ['run', ...args, '--reporter=default', '--reporter=json', `--outputFile.json=${report}`],
    cores: 2,
    count: (result) => vitestCounts(result, report),
    before: () => rmSync(report, { force: true }),
  };
}

/** Runs a command; resolves to status and text. `shown`: its output as it comes, not at its end. */
function run({ command, args }, shown) {
  return new Promise((done, fail) => {
    // A group of its own, so that all of it can be ended.
    const child = spawn(command, args, {
      cwd: root,
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    const endGroup = () => {
      try {
        process.kill(-child.pid, 'SIGKILL');
      } catch (error) {
        if (error.code !== 'ESRCH') throw error;
      }
    };
    let text = '';
    const take = (chunk) => {
      if (shown) process.stdout.write(chunk);
      text += chunk;
    };
    const limit = setTimeout(() => {
      take(`\nFAILED not done after ${LIMIT_MINUTES} minutes: ${command} ${args.join(' ')}\n`);
      endGroup();
    }, LIMIT_MINUTES * 60_000);
    const endAll = () => {
      endGroup();
      process.exit(1);
    };
    for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, endAll);
    child.stdout.on('data', take);
    child.stderr.on('data', take);
    child.on('error', fail);
    child.on('close', (status) => {
      clearTimeout(limit);
      for (const signal of ['SIGINT', 'SIGTERM']) process.removeListener(signal, endAll);
      done({ ok: status === 0, text });
    });
  });
}

function counted(passed, failed, skipped = 0) {
  return { passed, failed, skipped };
}

function asOne({ ok }) {
  return ok ? counted(1, 0) : counted(0, 1);
}

/** Test counts; a run that broke without a failed test still counts as one failure. */
function vitestCounts({ ok }, report) {
  if (!existsSync(report)) return asOne({ ok: false });
  const { numPassedTests, numFailedTests, numPendingTests, numTodoTests } = JSON.parse(
    readFileSync(report, 'utf8'),
  );
  const failed = ok ? numFailedTests : Math.max(1, numFailedTests);
  return counted(numPassedTests, failed, numPendingTests + numTodoTests);
}

function nativeCounts({ ok, text }) {
  const lines = [...text.matchAll(/^(\d+) passed, (\d+) failed/gm)];
  if (lines.length === 0) return asOne({ ok });
  const sum = (at) => lines.reduce((total, line) => total + Number(line[at]), 0);
  return counted(sum(1), ok ? sum(2) : Math.max(1, sum(2)));
}

const chosen = process.argv.slice(2);
const unknown = chosen.filter((name) => !Object.hasOwn(PARTS, name));
if (unknown.length > 0) {
  console.log(
    `no part is called ${unknown.join(', ')}; there are ${Object.keys(PARTS).join(', ')}`,
  );
  process.exit(64);
}
mkdirSync(resolve(root, 'build'), { recursive: true });

const waiting = Object.entries(PARTS).filter(
  ([name]) => chosen.length === 0 || chosen.includes(name),
);
const total = counted(0, 0);
const summary = [];
const running = new Map();

async function runPart(name, part) {
  part.before?.();
  // Alone on all cores: nobody else's output can come in between.
  const shown = part.cores >= cores;
  if (shown) console.log(`\n== ${name}`);
  const started = performance.now();
  const result = await run(part, shown);
  if (!shown) process.stdout.write(`\n== ${name}\n${result.text}`);
  const { passed, failed, skipped } = part.count(result);
  total.passed += passed;
  total.failed += failed;
  total.skipped += skipped;
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  summary.push(`${name}: ${failed === 0 ? 'ok' : `${failed} failed`}, ${seconds} s`);
}

while (waiting.length > 0 || running.size > 0) {
  const busy = [...running.keys()].reduce((sum, { cores: kept }) => sum + kept, 0);
  const next = waiting.findIndex(([, part]) => busy === 0 || busy + part.cores <= cores);
  if (next >= 0) {
    const [[name, part]] = waiting.splice(next, 1);
    running.set(
      part,
      runPart(name, part).finally(() => running.delete(part)),
    );
  } else await Promise.race(running.values());
}

console.log(`\n== summary\n${summary.join('\n')}`);
if (total.skipped > 0) console.log(`${total.skipped} skipped, reasons above`);
console.log(`${total.passed} passed, ${total.failed} failed`);
process.exitCode = total.failed === 0 ? 0 : 1;
