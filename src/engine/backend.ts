// What the engine computes on: what was asked for, else the GPU where one answers, else the CPU.

import type { BackendName, NativeAddon } from '../addon/types.js';
import { FlashmoeError } from '../base/errors.js';

export const BACKENDS = ['cpu', 'metal'] as const satisfies readonly BackendName[];

/** `wanted` null: the machine decides. ERR_BACKEND when Metal is asked for and no device answers. */
export function chooseBackend(
  addon: Pick<NativeAddon, 'metalDevice'>,
  wanted: BackendName | null,
): BackendName {
  if (wanted === 'cpu') return 'cpu';
  const { device, reason } = addon.metalDevice();
  if (device !== null) return 'metal';
  if (wanted === null) return 'cpu';
  throw new FlashmoeError('ERR_BACKEND', `the backend metal is not available: ${reason}`, {
    hint: 'use `--backend cpu`, or remove `backend` from settings.json',
    subject: 'backend',
  });
}

/**
 * What to tell the owner of a machine that has a GPU which does not answer, so that nobody takes the CPU's speed for the
 * machine's; null when there is nothing to tell. `expected`: what expectedBackend() says of the machine.
 */
export function missingGpu(
  addon: Pick<NativeAddon, 'metalDevice'>,
  wanted: BackendName | null,
  expected: BackendName,
): string | null {
  if (wanted === 'cpu' || expected !== 'metal') return null;
  const { device, reason } = addon.metalDevice();
  return device === null ? `the GPU does not answer, so the CPU computes: ${reason}` : null;
}

/** What a machine is expected to choose, for those who tell of it without loading anything. */
export function expectedBackend(machine: { platform: string; arch: string }): BackendName {
  return machine.platform === 'darwin' && machine.arch === 'arm64' ? 'metal' : 'cpu';
}
