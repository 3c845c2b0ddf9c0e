// Every operation of the engine, on this machine, against double-precision references: first the CPU, then the GPU on
// the same inputs. Not among the ordinary checks: `flashmoe doctor --self-test` runs it, and it takes a minute.

import { existsSync } from 'node:fs';
import type { BackendTest } from '../../addon/backend-probe.js';
import type { BackendName, MetalDevice, SelfTest } from '../../addon/types.js';
import { formatBytes } from '../../base/format.js';
import type { Check } from '../check.js';
import type { Finding } from '../finding.js';

export const selfTest: Check = {
  id: 'self-test.operations',
  title: 'every operation of the CPU and the GPU agrees with its reference',
  timeoutMs: 600_000,
  alone: true,
  async run(context, signal) {
    const path = context.addonPaths.find((candidate) => existsSync(candidate));
    if (path === undefined) {
      const title = 'the engine is not built on this machine yet';
      return [{ id: this.id, severity: 'fail', title, hint: 'flashmoe setup' }];
    }
    const cpu = await context.probeBackend(path, 'cpu', signal);
    const metal = await context.probeBackend(path, 'metal', signal);
    return [
      findingOf('cpu', cpu, null),
      findingOf('metal', metal, cpu.state === 'tested' ? cpu.selfTest : null),
      ...deviceFinding(metal),
    ];
  },
};

function findingOf(backend: BackendName, test: BackendTest, beside: SelfTest | null): Finding {
  const id = `self-test.${backend}`;
  if (test.state === 'absent') {
    return { id, severity: 'skip', title: `backend ${backend} was not tested: ${test.reason}` };
  }
  if (test.state === 'failed') {
    const title = `backend ${backend} could not be tested: ${test.reason}`;
    return { id, severity: 'fail', title, ...ADVICE };
  }
  const { checks, isa } = test.selfTest;
  const wrong = checks.filter(({ ok }) => !ok);
  const details = differences(test.selfTest, beside);
  const subject = `backend ${backend} (${isa})`;
  if (wrong.length > 0) {
    const title = `${subject} computes wrong values in ${wrong.map(({ name }) => name).join(', ')}`;
    return { id, severity: 'fail', title, details, ...ADVICE };
  }
  const title = `${subject}: ${checks.length} operations agree with their references`;
  return { id, severity: checks.length > 0 ? 'ok' : 'fail', title, details };
}

const ADVICE = {
  why: 'a model on this backend would answer with nonsense, or not at all',
  hint: 'flashmoe doctor --self-test --report, and attach the file to a report; --backend cpu goes round it',
} as const;

/** One line an operation: largest error, what is allowed, and what the other backend has on the same inputs. */
export function differences({ backend, checks }: SelfTest, beside: SelfTest | null): string[] {
  return checks.map(({ name, maxError, tolerance, ok }) => {
    const other = beside?.checks.find((check) => check.name === name);
    const parts = [
      `${name}: ${backend} ${maxError.toExponential(1)}`,
      ...(beside && other ? [`${beside.backend} ${other.maxError.toExponential(1)}`] : []),
      `allowed ${tolerance.toExponential(1)}`,
    ];
    return `${parts.join(', ')}${ok ? '' : ', WRONG'}`;
  });
}

function deviceFinding(test: BackendTest): Finding[] {
  if (test.state === 'absent' || test.device === null) return [];
  const { name, recommendedWorkingSetBytes, maxBufferBytes, lowPower }: MetalDevice = test.device;
  const title = [
    `${name} keeps ${formatBytes(recommendedWorkingSetBytes)} resident`,
    `its largest buffer holds ${formatBytes(maxBufferBytes)}`,
    ...(lowPower ? ['the system is in low power mode'] : []),
  ].join(', ');
  const hint = 'switch low power mode off in System Settings while a model answers';
  return [
    {
      id: 'self-test.device',
      severity: lowPower ? 'warn' : 'info',
      title,
      ...(lowPower ? { hint } : {}),
    },
  ];
}
