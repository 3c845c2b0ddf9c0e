// flashmoe doctor --report: the findings and the machine, redacted, as a file that may be attached to a bug report.

import { mkdir } from 'node:fs/promises';
import { hostname, userInfo } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { writeFileAtomic } from '../../base/atomic-file.js';
import type { DoctorReport } from '../../doctor/finding.js';
import { redact } from '../../doctor/redact.js';
import type { CliContext } from '../context.js';

export async function writeReport(
  context: CliContext,
  report: DoctorReport,
  chosen: string | null,
): Promise<void> {
  const { host, home } = context;
  const stamp = new Date(host.now()).toISOString();
  const name = `doctor-${stamp.replace(/\.\d+Z$/, '').replace(/[:T]/g, '-')}.json`;
  const path = chosen === null ? join(home.logs, name) : resolve(chosen);
  const { platform, arch, release, cpuModel, cores, memoryBytes, nodeVersion } = host;
  const machine = { platform, arch, release, cpuModel, cores, memoryBytes, nodeVersion };
  const text = JSON.stringify({ written: stamp, machine, ...report }, null, 2);
  const identity = {
    homeDirectory: host.homeDirectory,
    userName: userInfo().username,
    hostName: hostname(),
  };
  await mkdir(dirname(path), { recursive: true });
  await writeFileAtomic(path, `${redact(text, identity)}\n`, 0o600);
  if (context.json) context.emit('report', { path });
  else context.note(`report without names and secrets: ${path}`);
}
