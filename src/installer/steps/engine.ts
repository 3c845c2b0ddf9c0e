// The engine step: a native addon that was proven in a child process, found or built. Only after that may
// this process load it.

import { existsSync } from 'node:fs';
import { basename } from 'node:path';
import { addonCandidates, homeAddonPath, prebuiltProblem } from '../../addon/load.js';
import { packageRoot } from '../../base/package-root.js';
import { probeAddon } from '../../addon/probe.js';
import type { SelfTest } from '../../addon/types.js';
import { FlashmoeError } from '../../base/errors.js';
import type { Host } from '../../base/host.js';
import { removeOwned } from '../../base/owned-files.js';
import type { Emit } from '../../jobs/events.js';
import { buildEngine } from './build-engine.js';
import { isCurrentBuild } from './engine-sources.js';
import { exec as realExec, type Exec } from '../../base/exec.js';

export interface EngineTask {
  emit: Emit;
  signal: AbortSignal;
  /** The home's engine folder. */
  engineDir: string;
  host: Pick<Host, 'platform' | 'arch' | 'env' | 'temporaryDirectory' | 'execPath' | 'cores'>;
  /** Folder of binding.gyp and native/; this package by default. */
  sources?: string;
  exec?: Exec;
}

/** Path of a binary that loads here and computes right. Throws ERR_TOOLCHAIN, ERR_ENGINE or ERR_INTERRUPTED. */
export async function ensureEngine(task: EngineTask): Promise<string> {
  const { emit, host } = task;
  emit({ type: 'step', step: 'engine', status: 'started' });
  try {
    const override = host.env['FLASHMOE_ADDON'];
    const found = await findProven(task, override);
    if (found !== null) {
      emit({ type: 'step', step: 'engine', status: 'skipped', detail: describe(found.selfTest) });
      return found.path;
    }
    if (override) {
      throw new FlashmoeError('ERR_ENGINE', `FLASHMOE_ADDON names no usable engine: ${override}`, {
        hint: 'unset FLASHMOE_ADDON, or build again what it names',
      });
    }
    const built = await buildEngine({
      ...task,
      sources: task.sources ?? packageRoot,
      exec: task.exec ?? realExec,
    });
    emit({ type: 'step', step: 'engine', status: 'done', detail: describe(built.selfTest) });
    return built.path;
  } catch (error) {
    emit({ type: 'step', step: 'engine', status: 'failed' });
    throw error;
  }
}

async function findProven(
  { engineDir, host, emit, signal, sources = packageRoot }: EngineTask,
  override: string | undefined,
): Promise<{ path: string; selfTest: SelfTest } | null> {
  const { platform, arch } = host;
  for (const path of addonCandidates({ override, engineDir, platform, arch, root: sources })) {
    if (!existsSync(path)) continue;
    if (path === homeAddonPath(engineDir) && !(await isCurrentBuild(engineDir, sources))) {
      // Left there it would be loaded first by every other command.
      await removeOwned({ root: engineDir, owns: (name) => name === basename(path) }, path);
      emit({ type: 'notice', message: `${path} was built from other sources and was removed` });
      continue;
    }
    const problem = prebuiltProblem(path);
    if (problem !== null) {
      emit({ type: 'notice', message: `${path} ${problem}; it is not used` });
      continue;
    }
    const probe = await probeAddon(path, host.execPath, signal);
    if (probe.ok) return { path, selfTest: probe.selfTest };
    emit({ type: 'notice', message: `${path} ${probe.reason}; it is not used` });
  }
  return null;
}

function describe({ isa, checks }: SelfTest): string {
  return `${isa}, ${checks.length} kernel checks passed`;
}
