// Asks for the GPU, and has a backend test every operation, in a child process: a GPU driver that crashes takes the
// child along, and the child only.

import { runProbe } from './run-probe.js';
import type { BackendName, MetalDevice, SelfTest } from './types.js';

/** Compiling all kernels takes a GPU some seconds, the references a processor some more. */
const PROBE_TIMEOUT_MS = 300_000;
/** Naming the GPU compiles nothing. */
const DEVICE_TIMEOUT_MS = 15_000;

/** Prints one JSON line. What the machine has no device for is no failure, and is told apart. */
const PROBE = `
const [path, backend, kernels, seed] = process.argv.slice(1);
const addon = require(path);
const { device, reason } = addon.metalDevice();
const answer = { device, reason, selfTest: null, error: null };
try {
  if (backend === 'cpu' || (backend === 'metal' && device !== null)) answer.selfTest = addon.selfTestBackend(backend, kernels, Number(seed));
} catch (error) {
  answer.error = error.message;
}
process.stdout.write('\\n' + JSON.stringify(answer) + '\\n');
`;

export type BackendTest =
  | { state: 'tested'; selfTest: SelfTest; device: MetalDevice | null }
  /** The machine has no such device; `reason` says so. */
  | { state: 'absent'; reason: string }
  /** It is there and could not be tested: kernels that do not compile, a crash. */
  | { state: 'failed'; reason: string; device: MetalDevice | null };

export interface BackendProbe {
  /** The addon. */
  path: string;
  backend: BackendName;
  kernelsDir: string;
  /** Equal seeds give equal inputs. */
  seed: number;
  /** The node to run it in. */
  node: string;
}

/** Never throws for what it tests; ERR_INTERRUPTED after an abort. */
export async function probeBackend(
  { path, backend, kernelsDir, seed, node }: BackendProbe,
  signal: AbortSignal,
): Promise<BackendTest> {
  const args = [path, backend, kernelsDir, String(seed)];
  const answer = await runProbe<Answer>(PROBE, { node, args, timeoutMs: PROBE_TIMEOUT_MS }, signal);
  if (typeof answer === 'string') return { state: 'failed', reason: answer, device: null };
  const { device, reason, selfTest, error } = answer;
  if (error !== null) return { state: 'failed', reason: error, device };
  if (selfTest === null) return { state: 'absent', reason };
  return { state: 'tested', selfTest, device };
}

/** The GPU that the addon at `path` would compute on, as it names itself, or why there is none. Never throws but ERR_INTERRUPTED. */
export async function probeDevice(
  { path, node }: Pick<BackendProbe, 'path' | 'node'>,
  signal: AbortSignal,
): Promise<{ device: MetalDevice } | { device: null; reason: string }> {
  const probe = { node, args: [path, 'none', '', '0'], timeoutMs: DEVICE_TIMEOUT_MS };
  const answer = await runProbe<Answer>(PROBE, probe, signal);
  if (typeof answer === 'string') return { device: null, reason: answer };
  const { device, reason } = answer;
  return device === null ? { device, reason } : { device };
}

interface Answer {
  device: MetalDevice | null;
  reason: string;
  selfTest: SelfTest | null;
  error: string | null;
}
