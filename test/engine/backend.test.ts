import { expect, test } from 'vitest';
import { EXIT, exitStatus } from '../../src/base/errors.js';
import { chooseBackend, expectedBackend, missingGpu } from '../../src/engine/backend.js';

const reason = 'this engine was built without Metal';
const without = { metalDevice: () => ({ device: null, reason }) };
const facts = { recommendedWorkingSetBytes: 36e9, maxBufferBytes: 20e9, lowPower: false };
const withMetal = {
  metalDevice: () => ({ device: { name: 'Apple M4 Pro', ...facts }, reason: '' }),
};

test('where nobody chose, the GPU computes when one answers, else the CPU', () => {
  expect(chooseBackend(withMetal, null)).toBe('metal');
  expect(chooseBackend(without, null)).toBe('cpu');
});

test('what was chosen is taken, and Metal is not asked about for the CPU', () => {
  expect(chooseBackend(withMetal, 'metal')).toBe('metal');
  const silent = {
    metalDevice: () => {
      throw new Error('nobody should ask');
    },
  };
  expect(chooseBackend(silent, 'cpu')).toBe('cpu');
});

test('Metal that was asked for and is not there is an error that says why, not a slower engine', () => {
  expect(() => chooseBackend(without, 'metal')).toThrow(
    expect.objectContaining({
      code: 'ERR_BACKEND',
      message: `the backend metal is not available: ${reason}`,
      hint: expect.stringContaining('--backend cpu') as string,
    }) as Error,
  );
  expect(exitStatus('ERR_BACKEND')).toBe(EXIT.unavailable);
});

test('a Mac with Apple silicon is expected to use its GPU, and no other machine', () => {
  expect(expectedBackend({ platform: 'darwin', arch: 'arm64' })).toBe('metal');
  expect(expectedBackend({ platform: 'darwin', arch: 'x64' })).toBe('cpu');
  expect(expectedBackend({ platform: 'linux', arch: 'arm64' })).toBe('cpu');
});

test('a Mac whose GPU does not answer is told so wherever the CPU computes in its place', () => {
  const reason = 'no Metal: this machine shows no Metal device';
  const silent = { metalDevice: () => ({ device: null, reason }) };
  expect(missingGpu(silent, null, 'metal')).toBe(
    `the GPU does not answer, so the CPU computes: ${reason}`,
  );
  expect(missingGpu(silent, 'cpu', 'metal')).toBeNull();
  expect(missingGpu(silent, null, 'cpu')).toBeNull();
  expect(missingGpu(withMetal, null, 'metal')).toBeNull();
});
