// What may end a night's work: a battery, a lid. Asks, changes nothing.

import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { exec } from '../base/exec.js';
import type { Host } from '../base/host.js';
import { parsePowerSource } from './macos.js';

const SUPPLIES = '/sys/class/power_supply';

/** Lines for a person who is about to go to bed; none where nothing is to be feared. */
export async function powerWarnings(
  { platform, env }: Pick<Host, 'platform' | 'env'>,
  signal: AbortSignal,
  supplies = SUPPLIES,
): Promise<string[]> {
  if (platform === 'darwin') {
    const { stdout } = await exec('pmset', ['-g', 'batt'], { env, signal });
    const hasBattery = stdout.includes('InternalBattery');
    const onBattery = parsePowerSource(stdout) === 'battery';
    return words(onBattery, hasBattery);
  }
  const found = await linuxSupplies(supplies);
  const batteries = found.filter(({ type, scope }) => type === 'Battery' && scope !== 'Device');
  const onMains = found.some(({ type, online }) => type !== 'Battery' && online === '1');
  return words(batteries.length > 0 && !onMains, batteries.length > 0);
}

function words(onBattery: boolean, hasBattery: boolean): string[] {
  return [
    ...(onBattery ? ['on battery: plug it in, it would not last the night'] : []),
    ...(hasBattery ? ['leave the lid open: a closed one puts the machine to sleep'] : []),
  ];
}

async function linuxSupplies(
  folder: string,
): Promise<{ type: string; online: string; scope: string }[]> {
  const names = await readdir(folder).catch(() => []);
  const read = (name: string, field: string): Promise<string> =>
    readFile(join(folder, name, field), 'utf8').then(
      (text) => text.trim(),
      // Not every supply has every field.
      () => '',
    );
  return await Promise.all(
    names.map(async (name) => {
      const [type, online, scope] = await Promise.all(
        ['type', 'online', 'scope'].map((field) => read(name, field)),
      );
      return { type: type ?? '', online: online ?? '', scope: scope ?? '' };
    }),
  );
}
