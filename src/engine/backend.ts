// What the engine computes on: what was asked for, else the GPU where one answers, else the CPU.

import type { BackendName, NativeAddon } from '../addon/types.js';
import { FlashmoeError } from '../base/errors.js';

export const BACKENDS: readonly BackendName[] = ['cpu', 'metal'];

export function isBackend(value: unknown): value is BackendName {
  return BACKENDS.some((name) => name === value);
}

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

/** What a machine is expected to choose, for those who tell of it without loading anything. */
export function expectedBackend(machine: { platform: string; arch: string }): BackendName {
  return machine.platform === 'darwin' && machine.arch === 'arm64' ? 'metal' : 'cpu';
}
