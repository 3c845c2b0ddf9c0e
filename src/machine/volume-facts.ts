// What kind of volume a path lies on and how it is attached. Changes nothing.

import { readFile } from 'node:fs/promises';
import type { Exec } from '../base/exec.js';
import type { Host } from '../base/host.js';
import { volumeOf } from '../base/volume.js';
import { findUsbSpeed, parseDiskutil } from './macos.js';

export interface VolumeFacts {
  /** As the system names it: apfs, exfat, ext4, nfs4, … */
  fileSystem: string;
  mountPoint: string;
  /** e.g. Apple Fabric, PCI-Express, USB, Thunderbolt; null when it isn't known. */
  protocol: string | null;
  isInternal: boolean | null;
  /** Of a USB link, in the system's words. */
  linkSpeed: string | null;
  isRotating: boolean | null;
}

/** null when the system's tools say nothing that is understood. */
export async function volumeFacts(
  path: string,
  host: Pick<Host, 'platform'>,
  exec: Exec,
  signal: AbortSignal,
): Promise<VolumeFacts | null> {
  if (host.platform === 'darwin') return onMacos(path, exec, signal);
  return host.platform === 'linux' ? onLinux(path) : null;
}

async function onMacos(path: string, exec: Exec, signal: AbortSignal): Promise<VolumeFacts | null> {
  const { path: existing } = await volumeOf(path);
  // -P: one line a file system, the form that POSIX fixes.
  const mounted = await exec('df', ['-P', existing], { signal });
  const device = /^(\/dev\/\S+)/m.exec(mounted.stdout)?.[1];
  if (device === undefined) return null;
  const facts = parseDiskutil((await exec('diskutil', ['info', device], { signal })).stdout);
  const fileSystem = facts.get('Type (Bundle)');
  if (fileSystem === undefined) return null;
  const protocol = facts.get('Protocol') ?? null;
  const location = facts.get('Device Location');
  const store = facts.get('APFS Physical Store') ?? facts.get('Part of Whole') ?? '';
  return {
    fileSystem,
    mountPoint: facts.get('Mount Point') ?? existing,
    protocol,
    isInternal: location === undefined ? null : location === 'Internal',
    linkSpeed: protocol === 'USB' ? await usbSpeed(wholeDisk(store), exec, signal) : null,
    isRotating: facts.has('Solid State') ? facts.get('Solid State') === 'No' : null,
  };
}

/** disk4s2 lies on disk4. */
const wholeDisk = (name: string): string => /^disk\d+/.exec(name)?.[0] ?? name;

async function usbSpeed(disk: string, exec: Exec, signal: AbortSignal): Promise<string | null> {
  for (const type of ['SPUSBHostDataType', 'SPUSBDataType']) {
    const { stdout } = await exec('system_profiler', [type, '-json'], { signal });
    const speed = findUsbSpeed(stdout, disk);
    if (speed !== null) return speed;
  }
  return null;
}

async function onLinux(path: string): Promise<VolumeFacts | null> {
  const { path: existing } = await volumeOf(path);
  const mount = findMount(await readFile('/proc/self/mountinfo', 'utf8'), existing);
  if (mount === null) return null;
  const queue = `/sys/dev/block/${mount.device}`;
  // A partition has no queue of its own; its disk is the folder above. Virtual disks call themselves rotating.
  const isReal = mount.source.startsWith('/dev/sd');
  const rotational = !isReal
    ? null
    : await firstText(`${queue}/queue/rotational`, `${queue}/../queue/rotational`);
  return {
    fileSystem: mount.fileSystem,
    mountPoint: mount.mountPoint,
    protocol: null,
    isInternal: null,
    linkSpeed: null,
    isRotating: rotational === null ? null : rotational.trim() === '1',
  };
}

interface Mount {
  /** major:minor. */
  device: string;
  mountPoint: string;
  fileSystem: string;
  /** What is mounted, e.g. /dev/sda2. */
  source: string;
}

/** The last mount whose point is at or above `path`, longest first; columns of proc_pid_mountinfo(5). */
export function findMount(table: string, path: string): Mount | null {
  let best: Mount | null = null;
  for (const line of table.split('\n')) {
    const [left = '', right = ''] = line.split(' - ');
    const columns = left.split(' ');
    const mountPoint = (columns[4] ?? '').replace(/\\([0-7]{3})/g, (_, octal: string) =>
      String.fromCharCode(parseInt(octal, 8)),
    );
    const isAbove = mountPoint === '/' || path === mountPoint || path.startsWith(`${mountPoint}/`);
    if (mountPoint === '' || !isAbove) continue;
    if (best !== null && best.mountPoint.length > mountPoint.length) continue;
    const [fileSystem = '', source = ''] = right.split(' ');
    best = { device: columns[2] ?? '', mountPoint, fileSystem, source };
  }
  return best;
}

async function firstText(...paths: string[]): Promise<string | null> {
  for (const path of paths) {
    const text = await readFile(path, 'utf8').catch(() => null);
    if (text !== null) return text;
  }
  return null;
}
