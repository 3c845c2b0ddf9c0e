// Proves a binary without risking this process: a child loads it, compares the contract and runs the
// kernels' self-test. A binary for another machine kills the child, and the child only.

import { FlashmoeError } from '../base/errors.js';
import { CONTRACT } from './contract.js';
import type { SelfTest } from './types.js';

const PROBE_TIMEOUT_MS = 120_000;

/** Loads what its argument names and prints one JSON line; the only other place where a binary is loaded. */
const PROBE = `
const addon = require(process.argv[1]);
const contract = addon.contract;
const selfTest = contract === ${CONTRACT} ? addon.selfTest() : null;
process.stdout.write('\\n' + JSON.stringify({ contract, selfTest }) + '\\n');
`;

export type ProbeResult =
  | { ok: true; selfTest: SelfTest }
  /** `reason` completes the sentence "<path> …". */
  | { ok: false; reason: string };

/** Never throws for a bad binary; ERR_INTERRUPTED after an abort. `node` is the node to run it in. */
export async function probeAddon(
  path: string,
  node: string,
  signal: AbortSignal,
): Promise<ProbeResult> {
  // Loaded where a process is started: most commands start none.
  const { execa } = await import('execa');
  const child = await execa(node, ['-e', PROBE, path], {
    reject: false,
    stdin: 'ignore',
    timeout: PROBE_TIMEOUT_MS,
    cancelSignal: signal,
    maxBuffer: 1024 * 1024,
  });
  if (child.isCanceled) {
    throw new FlashmoeError('ERR_INTERRUPTED', 'the check of the engine was interrupted');
  }
  if (child.timedOut) return fails(`did not answer within ${PROBE_TIMEOUT_MS / 1000} s`);
  if (child.signal !== undefined) return fails(`crashed with ${child.signal}`);
  if (child.exitCode !== 0) return fails(`does not load: ${lastError(child.stderr)}`);
  return judge(child.stdout);
}

function judge(stdout: string): ProbeResult {
  let answer: { contract?: unknown; selfTest?: SelfTest | null };
  try {
    answer = JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as typeof answer;
  } catch {
    return fails('did not answer the probe');
  }
  if (answer.contract !== CONTRACT || !answer.selfTest) {
    return fails(`speaks contract ${String(answer.contract)}, needed is ${CONTRACT}`);
  }
  if (answer.selfTest.ok) return { ok: true, selfTest: answer.selfTest };
  const wrong = answer.selfTest.checks.filter(({ ok }) => !ok).map(({ name }) => name);
  return fails(`computes wrong values in ${wrong.join(', ') || 'its self-test'}`);
}

/** The line of a stack trace that says what happened. */
function lastError(stderr: string): string {
  const lines = stderr.split('\n').map((line) => line.trim());
  const said = lines.find((line) => /^\w*Error: /.test(line)) ?? lines.find((line) => line !== '');
  return said ?? 'no reason given';
}

function fails(reason: string): ProbeResult {
  return { ok: false, reason };
}
