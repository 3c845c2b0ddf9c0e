// Measures a backend in a child process: a GPU driver that crashes takes the child along, and the child only.

import { runProbe } from './run-probe.js';
import type { BackendName, KernelRates, WiredGrowth } from './types.js';

/** Weights are spread over more than any cache of a chip holds. */
const MEMORY_BYTES = 512 * 1024 * 1024;
/** Of each operation. */
const SECONDS = 0.5;
const TIMEOUT_MS = 180_000;

/** Prints one JSON line: an answer, or why there is none. */
const PROBE = `
const [path, what, ...rest] = process.argv.slice(1);
const addon = require(path);
const answer = { value: null, reason: '' };
const { device, reason } = addon.metalDevice();
if (rest[0] === 'metal' && device === null) answer.reason = reason;
else {
  try {
    answer.value = what === 'rates'
      ? addon.measureRates(rest[0], rest[1], Number(rest[2]), Number(rest[3]), Number(rest[4]))
      : addon.measureWired(rest[0], rest[1], rest[2]);
  } catch (error) {
    answer.reason = error.message;
  }
}
process.stdout.write('\\n' + JSON.stringify(answer) + '\\n');
`;

export interface MeasureProbe {
  /** The addon. */
  path: string;
  backend: BackendName;
  kernelsDir: string;
  /** The node to run it in. */
  node: string;
}

interface Answer<Value> {
  value: Value | null;
  reason: string;
}

/** How fast the backend is, or in words why that isn't known. Never throws but ERR_INTERRUPTED. */
export async function probeRates(
  { path, backend, kernelsDir, node }: MeasureProbe,
  threads: number,
  signal: AbortSignal,
): Promise<KernelRates | string> {
  const numbers = [threads, MEMORY_BYTES, SECONDS].map(String);
  return answerOf<KernelRates>(node, [path, 'rates', backend, kernelsDir, ...numbers], signal);
}

/** How much of `file` and of allocated memory the system holds for good, or why that isn't known. Never throws but ERR_INTERRUPTED. */
export async function probeWired(
  { path, backend, kernelsDir, node }: MeasureProbe,
  file: string,
  signal: AbortSignal,
): Promise<WiredGrowth | string> {
  return answerOf<WiredGrowth>(node, [path, 'wired', backend, kernelsDir, file], signal);
}

async function answerOf<Value extends object>(
  node: string,
  args: string[],
  signal: AbortSignal,
): Promise<Value | string> {
  const answer = await runProbe<Answer<Value>>(
    PROBE,
    { node, args, timeoutMs: TIMEOUT_MS },
    signal,
  );
  if (typeof answer === 'string') return answer;
  return answer.value ?? answer.reason;
}
