// What this machine is, as findings with a verdict. Changes nothing.

import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import type { Exec } from '../base/exec.js';
import { formatBinaryBytes, formatBytesBoth } from '../base/format.js';
import type { Host } from '../base/host.js';
import { volumeOf, type Volume } from '../base/volume.js';
import type { MachineFinding } from './finding.js';

/** The lowest version that package.json admits. */
const NODE_FLOOR = [20, 19] as const;
/** The dense part of the smallest real model, its state and the system fit; below it nothing useful runs. */
const SMALL_MEMORY = 8 * 1024 ** 3;

/** Processor and operating system; on macOS also whether this very process runs translated. */
export async function chipFinding(
  host: Pick<Host, 'platform' | 'arch' | 'cpuModel' | 'cores'>,
  exec: Exec,
  signal: AbortSignal,
): Promise<MachineFinding> {
  const title = `${host.cpuModel || host.arch}, ${host.cores} cores`;
  if (host.platform === 'linux') return { id: 'machine.chip', severity: 'ok', title };
  if (host.platform !== 'darwin') {
    return {
      id: 'machine.chip',
      severity: 'fail',
      title: `flashmoe runs on macOS and Linux, this is ${host.platform}`,
    };
  }
  if (host.arch === 'arm64') return { id: 'machine.chip', severity: 'ok', title };
  // sysctl knows whether this very process is translated; the key is absent on Intel machines.
  const translated = await exec('sysctl', ['-n', 'sysctl.proc_translated'], { signal });
  if (translated.stdout.trim() === '1') {
    return {
      id: 'machine.rosetta',
      severity: 'fail',
      title: 'this Node was built for Intel and runs translated by Rosetta',
      hint: 'install Node for Apple silicon: `/opt/homebrew/bin/brew install node`',
    };
  }
  return {
    id: 'machine.chip',
    severity: 'warn',
    title: `${title}: an Intel Mac, the engine will use its CPU only`,
  };
}

export function memoryFinding(host: Pick<Host, 'memoryBytes'>): MachineFinding {
  const title = `${formatBinaryBytes(host.memoryBytes)} of memory`;
  return host.memoryBytes >= SMALL_MEMORY
    ? { id: 'machine.memory', severity: 'ok', title }
    : {
        id: 'machine.memory',
        severity: 'warn',
        title: `${title}: little even for the smallest real model`,
        hint: 'the bundled model `tiny` runs in it',
      };
}

/** Older ones are past their end of life. */
const NODE_SUPPORTED = 22;

export function nodeFinding(host: Pick<Host, 'platform' | 'nodeVersion'>): MachineFinding {
  const [major = 0, minor = 0] = host.nodeVersion.split('.').map(Number);
  const [floorMajor, floorMinor] = NODE_FLOOR;
  const isEnough = major > floorMajor || (major === floorMajor && minor >= floorMinor);
  const title = `Node ${host.nodeVersion}`;
  if (isEnough && major < NODE_SUPPORTED) {
    return {
      id: 'machine.node',
      severity: 'info',
      title: `${title} works, but gets no security fixes any more; 22 or 24 is recommended`,
      hint: host.platform === 'darwin' ? 'run `brew upgrade node`' : 'update Node',
    };
  }
  return isEnough
    ? { id: 'machine.node', severity: 'ok', title }
    : {
        id: 'machine.node',
        severity: 'fail',
        title: `${title} is too old, ${NODE_FLOOR.join('.')} or newer is needed`,
        hint: host.platform === 'darwin' ? 'run `brew upgrade node`' : 'update Node',
      };
}

/** Free space on the volume of `home`, which need not exist yet, and whether it may be written. */
export async function diskFinding(
  home: string,
  volume: (path: string) => Promise<Volume> = volumeOf,
): Promise<MachineFinding> {
  try {
    const { path, freeBytes } = await volume(home);
    if (!(await stat(path)).isDirectory())
      throw Object.assign(new Error(path), { code: 'ENOTDIR' });
    await access(path, constants.W_OK | constants.X_OK);
    return {
      id: 'disk.free',
      severity: 'ok',
      title: `${formatBytesBoth(freeBytes)} free for ${home}`,
    };
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return {
      id: 'disk.home',
      severity: 'fail',
      title: `${home} cannot be written to (${code ?? String(error)})`,
      hint: 'choose another folder with --home or FLASHMOE_HOME',
    };
  }
}
