// The first step: what this machine is, and whether a setup can work on it. Changes nothing.

import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { FlashmoeError } from '../../base/errors.js';
import { formatBinaryBytes, formatBytesBoth } from '../../base/format.js';
import type { Host } from '../../base/host.js';
import { volumeOf, type Volume } from '../../base/volume.js';
import type { Emit } from '../events.js';
import { exec as realExec, type Exec } from './exec.js';
import { checkToolchain, type Finding, type ToolchainHost } from './toolchain.js';

export interface MachineTask {
  emit: Emit;
  signal: AbortSignal;
  /** Folder that will hold the models; need not exist. */
  home: string;
  host: ToolchainHost &
    Pick<Host, 'arch' | 'release' | 'cpuModel' | 'cores' | 'memoryBytes' | 'nodeVersion'>;
  exec?: Exec;
  volume?: (path: string) => Promise<Volume>;
}

/** The lowest version that package.json admits. */
const NODE_FLOOR = [20, 19] as const;
/** The dense part of the smallest real model, its state and the system fit; below it nothing useful runs. */
const SMALL_MEMORY = 8 * 1024 ** 3;

/** Emits one finding a fact. Throws ERR_HOME or ERR_ENGINE when a finding is `fail`, after all were emitted. */
export async function checkMachine(task: MachineTask): Promise<Finding[]> {
  const exec = task.exec ?? realExec;
  task.emit({ type: 'step', step: 'machine', status: 'started' });
  const findings = [
    await chip(task, exec),
    memory(task),
    node(task),
    await disk(task),
    ...(await checkToolchain(task.host, exec, task.signal)),
  ];
  for (const finding of findings) task.emit({ type: 'finding', ...finding });
  const failed = findings.find(({ severity }) => severity === 'fail');
  if (failed !== undefined) {
    task.emit({ type: 'step', step: 'machine', status: 'failed', detail: failed.title });
    const code = failed.id.startsWith('disk.') ? 'ERR_HOME' : 'ERR_ENGINE';
    throw new FlashmoeError(code, `${failed.title}; nothing was changed`, { hint: failed.hint });
  }
  task.emit({ type: 'step', step: 'machine', status: 'done', detail: findings[0]?.title ?? '' });
  return findings;
}

async function chip({ host, signal }: MachineTask, exec: Exec): Promise<Finding> {
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

function memory({ host }: MachineTask): Finding {
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

function node({ host }: MachineTask): Finding {
  const [major = 0, minor = 0] = host.nodeVersion.split('.').map(Number);
  const [floorMajor, floorMinor] = NODE_FLOOR;
  const isEnough = major > floorMajor || (major === floorMajor && minor >= floorMinor);
  const title = `Node ${host.nodeVersion}`;
  return isEnough
    ? { id: 'machine.node', severity: 'ok', title }
    : {
        id: 'machine.node',
        severity: 'fail',
        title: `${title} is too old, ${NODE_FLOOR.join('.')} or newer is needed`,
        hint: host.platform === 'darwin' ? 'run `brew upgrade node`' : 'update Node',
      };
}

async function disk({ home, volume = volumeOf }: MachineTask): Promise<Finding> {
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
