// The test of every operation, through real child processes: the addon of this machine, and beside it GPUs that
// compute wrongly, refuse or crash.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { probeBackend, probeDevice } from '../../src/addon/backend-probe.js';
import { packageRoot } from '../../src/base/package-root.js';
import { SELF_TEST } from '../../src/doctor/all-checks.js';
import { differences } from '../../src/doctor/checks/self-test.js';
import type { Finding } from '../../src/doctor/finding.js';
import { examine } from '../../src/doctor/run.js';
import type { DoctorContext } from '../../src/doctor/context.js';
import { findings, signal, testWorld } from './test-context.js';

const addonPath = join(packageRoot, 'build', 'Release', 'flashmoe.node');
const kernelsDir = join(packageRoot, 'metal');

async function selfTest(path: string): Promise<Finding[]> {
  const world = testWorld({
    addonPaths: [path],
    probeBackend: (at, backend) =>
      probeBackend({ path: at, backend, kernelsDir, seed: 5, node: process.execPath }, signal),
  });
  return (await examine(SELF_TEST, world, { signal, only: ['self-test'] })).findings;
}

const CPU_CHECK = "{ name: 'rms_norm', maxError: 1e-7, tolerance: 2e-6, ok: true }";

/** An addon in JavaScript: what a machine with a GPU answers. */
function addonWith(metal: string): string {
  const { home } = testWorld().home;
  const path = join(home, 'addon.cjs');
  const device =
    "{ name: 'a GPU', recommendedWorkingSetBytes: 36e9, maxBufferBytes: 2e10, lowPower: true }";
  writeFileSync(
    path,
    `exports.metalDevice = () => ({ device: ${device}, reason: '' });
exports.selfTestBackend = (backend, kernels, seed) =>
  backend === 'cpu' ? { ok: true, backend, isa: 'x', checks: [${CPU_CHECK}] } : (${metal})();
`,
  );
  return path;
}

test('the CPU is tested, and a machine without a GPU is told so', async () => {
  const [cpu, metal, ...rest] = await selfTest(addonPath);
  expect(cpu).toMatchObject({ id: 'self-test.cpu', severity: 'ok' });
  expect(cpu?.title).toMatch(
    /^backend cpu \(\w+\): [1-9]\d* operations agree with their references$/,
  );
  expect(cpu?.details?.length).toBeGreaterThan(20);
  if (process.platform === 'darwin') return;
  expect(metal).toMatchObject({
    id: 'self-test.metal',
    severity: 'skip',
    title: 'backend metal was not tested: no Metal: this engine was built without Metal',
  });
  expect(rest).toEqual([]);
}, 120_000);

test('operations that are off are named, with the figures of both backends', async () => {
  const wrong = `() => ({ ok: false, backend: 'metal', isa: 'a GPU', checks: [
    { name: 'rms_norm', maxError: 0.5, tolerance: 2e-6, ok: false },
    { name: 'swiglu', maxError: 1e-8, tolerance: 1e-6, ok: true }] })`;
  const found = await selfTest(addonWith(wrong));
  const metal = found.find(({ id }) => id === 'self-test.metal');
  expect(metal).toMatchObject({
    severity: 'fail',
    title: 'backend metal (a GPU) computes wrong values in rms_norm',
  });
  expect(metal?.details?.[0]).toMatch(
    /^rms_norm: metal 5\.0e-1, cpu 1\.0e-7, allowed 2\.0e-6, WRONG$/,
  );
  expect(found.find(({ id }) => id === 'self-test.device')).toMatchObject({ severity: 'warn' });
}, 120_000);

test('kernels that do not compile, and a driver that crashes, are failures with their words', async () => {
  const words = 'the Metal kernels do not compile on a GPU: matvec.metal:12: error';
  const refusing = await selfTest(
    addonWith(`() => { throw new Error(${JSON.stringify(words)}); }`),
  );
  expect(refusing[1]).toMatchObject({
    severity: 'fail',
    title: `backend metal could not be tested: ${words}`,
  });
  const crashing = await selfTest(addonWith(`() => process.kill(process.pid, 'SIGSEGV')`));
  expect(crashing[1]).toMatchObject({
    severity: 'fail',
    title: 'backend metal could not be tested: its process crashed with SIGSEGV',
  });
}, 240_000);

test('a comparison has a line for each operation, whether or not the other backend has it', () => {
  const check = { name: 'new', maxError: 1e-7, tolerance: 1e-6, ok: true };
  const metal = { ok: true, backend: 'metal', isa: 'x', checks: [check] };
  const cpu = { ok: true, backend: 'cpu', isa: 'y', checks: [] };
  expect(differences(metal, cpu)).toEqual(['new: metal 1.0e-7, allowed 1.0e-6']);
});

const aMac = (path: string): DoctorContext => {
  const world = testWorld({
    addonPaths: [path],
    probeDevice: (at) => probeDevice({ path: at, node: process.execPath }, signal),
  });
  return { ...world, host: { ...world.host, platform: 'darwin', arch: 'arm64' } };
};

test('a Mac whose GPU does not answer fails a check that says why and what follows', async () => {
  const path = join(testWorld().home.home, 'no-gpu.cjs');
  writeFileSync(
    path,
    "exports.metalDevice = () => ({ device: null, reason: 'no Metal: this machine shows no Metal device' });",
  );
  expect(await findings('engine.gpu', aMac(path))).toMatchObject([
    {
      severity: 'fail',
      title: 'the GPU does not answer: no Metal: this machine shows no Metal device',
      why: 'models answer on the CPU, several times slower',
    },
  ]);
});

test('a Mac whose GPU answers names it, and a driver that crashes is a GPU that does not answer', async () => {
  expect(await findings('engine.gpu', aMac(addonWith('() => null')))).toMatchObject([
    { severity: 'ok', title: 'a GPU answers, and keeps 36.0 GB resident' },
  ]);
  const path = join(testWorld().home.home, 'crash.cjs');
  writeFileSync(path, "exports.metalDevice = () => process.kill(process.pid, 'SIGSEGV');");
  expect(await findings('engine.gpu', aMac(path))).toMatchObject([
    { severity: 'fail', title: 'the GPU does not answer: its process crashed with SIGSEGV' },
  ]);
});
