import { existsSync } from 'node:fs';
import { formatBytes } from '../../base/format.js';
import type { Check } from '../check.js';

const id = 'engine.gpu';

/** A Mac's GPU answers the engine. Where it does not, everything still works and is several times slower. */
export const gpu: Check = {
  id,
  title: 'the GPU answers the engine',
  timeoutMs: 30_000,
  async run(context, signal) {
    const { platform, arch } = context.host;
    if (platform !== 'darwin' || arch !== 'arm64') {
      return [
        {
          id,
          severity: 'skip',
          title: 'this machine computes on its CPU; a GPU is used on Apple silicon',
        },
      ];
    }
    const path = context.addonPaths.find((candidate) => existsSync(candidate));
    if (path === undefined)
      return [{ id, severity: 'skip', title: 'the engine is not built on this machine yet' }];
    const found = await context.probeDevice(path, signal);
    if (found.device !== null) {
      const { name, recommendedWorkingSetBytes } = found.device;
      const title = `${name} answers, and keeps ${formatBytes(recommendedWorkingSetBytes)} resident`;
      return [{ id, severity: 'ok', title }];
    }
    return [
      {
        id,
        severity: 'fail',
        title: `the GPU does not answer: ${found.reason}`,
        why: 'models answer on the CPU, several times slower',
        hint: 'run it in a terminal of your own login, not over ssh; `flashmoe doctor --self-test --report` has what to send',
      },
    ];
  },
};
