// The first step: what this machine is, and whether a setup can work on it. Changes nothing.

import { FlashmoeError } from '../../base/errors.js';
import { exec as realExec, type Exec } from '../../base/exec.js';
import type { Host } from '../../base/host.js';
import type { Volume } from '../../base/volume.js';
import { chipFinding, diskFinding, memoryFinding, nodeFinding } from '../../machine/facts.js';
import type { MachineFinding } from '../../machine/finding.js';
import { checkToolchain, type ToolchainHost } from '../../machine/toolchain.js';
import type { Emit } from '../../jobs/events.js';

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

/** Emits one finding a fact. Throws ERR_HOME or ERR_ENGINE when a finding is `fail`, after all were emitted. */
export async function checkMachine(task: MachineTask): Promise<MachineFinding[]> {
  const exec = task.exec ?? realExec;
  task.emit({ type: 'step', step: 'machine', status: 'started' });
  const findings = [
    await chipFinding(task.host, exec, task.signal),
    memoryFinding(task.host),
    nodeFinding(task.host),
    await diskFinding(task.home, task.volume),
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
