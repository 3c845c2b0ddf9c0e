// `make test`: every stage runs even when an earlier one failed, so that one run shows all there is to
// mend. Closes with `N passed, N failed` on a line of its own; exits 1 when anything failed.
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const report = resolve(root, 'build', 'vitest.json');

/** A stage that takes this long hangs: its processes are ended, it counts as failed, and the next one begins. */
const LIMIT_MINUTES = 40;

/** Runs a command with its output shown as it comes; resolves to status and text. */
function run(command, args) {
  return new Promise((done, fail) => {
    // A group of its own, so that all of it can be ended.
    const child = spawn(command, args, {
      cwd: root,
      stdio: ['ignore', 'pipe', 'inherit'],
      detached: true,
    });
    const endGroup = () => {
      try {
        process.kill(-child.pid, 'SIGKILL');
      } catch (error) {
        if (error.code !== 'ESRCH') throw error;
      }
    };
    const limit = setTimeout(() => {
      console.log(`\nFAILED not done after ${LIMIT_MINUTES} minutes: ${command} ${args.join(' ')}`);
      endGroup();
    }, LIMIT_MINUTES * 60_000);
    for (const signal of ['SIGINT', 'SIGTERM']) {
      process.once(signal, () => {
        endGroup();
        process.exit(1);
      });
    }
    let text = '';
    child.stdout.on('data', (chunk) => {
      process.stdout.write(chunk);
      text += chunk;
    });
    child.on('error', fail);
    child.on('close', (status) => {
      clearTimeout(limit);
      done({ ok: status === 0, text });
    });
  });
}

const counted = (passed, failed, skipped = 0) => ({ passed, failed, skipped });
const asOne = ({ ok }) => (ok ? counted(1, 0) : counted(0, 1));

/** Test counts; a run that broke without a failed test still counts as one failure. */
function vitestCounts({ ok }) {
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

mkdirSync(dirname(report), { recursive: true });
rmSync(report, { force: true });

const bin = (name) => resolve(root, 'node_modules', '.bin', name);
const stages = [
  ['typecheck', bin('tsc'), ['-p', 'tsconfig.json'], asOne],
  ['lint', bin('eslint'), ['.'], asOne],
  ['format', bin('prettier'), ['--check', '--log-level', 'warn', '.'], asOne],
  [
    'unit and integration',
    bin('vitest'),
    ['run', '--reporter=default', '--reporter=json', `--outputFile.json=${report}`],
    vitestCounts,
  ],
  ['native', 'make', [`-j${availableParallelism()}`, '-C', 'native', 'test'], nativeCounts],
  [
    'native, sanitized',
    'make',
    [`-j${availableParallelism()}`, '-C', 'native', 'sanitized'],
    nativeCounts,
  ],
];

const total = counted(0, 0);
const summary = [];
for (const [name, command, args, count] of stages) {
  console.log(`\n== ${name}`);
  const started = performance.now();
  const { passed, failed, skipped } = count(await run(command, args));
  total.passed += passed;
  total.failed += failed;
  total.skipped += skipped;
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  summary.push(`${name}: ${failed === 0 ? 'ok' : `${failed} failed`}, ${seconds} s`);
}

console.log(`\n== summary\n${summary.join('\n')}`);
if (total.skipped > 0) console.log(`${total.skipped} skipped, reasons above`);
console.log(`${total.passed} passed, ${total.failed} failed`);
process.exitCode = total.failed === 0 ? 0 : 1;
