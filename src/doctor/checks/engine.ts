import { existsSync } from 'node:fs';
import type { Check } from '../check.js';
import type { Finding } from '../finding.js';
import type { DoctorContext } from '../context.js';

const id = 'engine.addon';

/** Loads the native addon in a child process and has it test its kernels against their reference. */
export const engine: Check = {
  id,
  title: 'native addon loads and its kernels compute right values',
  timeoutMs: 120_000,
  async run(context, signal) {
    const broken: string[] = [];
    for (const path of context.addonPaths.filter((candidate) => existsSync(candidate))) {
      const probe = await context.probeAddon(path, signal);
      if (probe.ok) {
        const { backend, isa, checks } = probe.selfTest;
        const kernels = `${checks.length} kernels agree with their reference`;
        const title = `engine ${backend} (${isa}) of flashmoe ${context.version}: ${kernels}`;
        return [{ id, severity: 'ok', title, why: path }];
      }
      broken.push(`${path} ${probe.reason}`);
    }
    if (broken.length === 0) return [await notBuilt(context, signal)];
    return [
      {
        id,
        severity: 'fail',
        title: broken.join('; '),
        why: 'no model can answer without it',
        hint: 'flashmoe setup',
      },
    ];
  },
};

async function notBuilt(context: DoctorContext, signal: AbortSignal): Promise<Finding> {
  const { complete } = await context.models(signal);
  return {
    id,
    severity: complete.length === 0 ? 'info' : 'fail',
    title: 'the engine is not built on this machine yet',
    why: complete.length === 0 ? 'setup builds it' : 'the models here cannot answer without it',
    hint: 'flashmoe setup',
  };
}

/** Whether some addon of this installation loads: then nothing has to be built. */
export async function hasWorkingAddon(
  context: DoctorContext,
  signal: AbortSignal,
): Promise<boolean> {
  for (const path of context.addonPaths.filter((candidate) => existsSync(candidate))) {
    if ((await context.probeAddon(path, signal)).ok) return true;
  }
  return false;
}
