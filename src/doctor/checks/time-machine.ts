import { existsSync } from 'node:fs';
import { parseIsExcluded } from '../../machine/macos.js';
import type { Check } from '../check.js';

const id = 'disk.time_machine';

/** Hundreds of gigabytes that can be fetched again do not belong into a backup, and snapshots hold what was freed. */
export const timeMachine: Check = {
  id,
  title: 'whether Time Machine leaves the models out',
  timeoutMs: 20_000,
  async run({ home, host, exec }, signal) {
    if (host.platform !== 'darwin') {
      return [{ id, severity: 'skip', title: 'Time Machine is of macOS only' }];
    }
    if (!existsSync(home.models)) {
      return [{ id, severity: 'skip', title: `${home.models} is not there yet` }];
    }
    const { stdout } = await exec('tmutil', ['isexcluded', home.models], { signal });
    const excluded = parseIsExcluded(stdout);
    if (excluded === true) {
      return [{ id, severity: 'ok', title: `Time Machine leaves out ${home.models}` }];
    }
    if (excluded === null) {
      return [{ id, severity: 'skip', title: 'tmutil did not say what it leaves out' }];
    }
    return [
      {
        id,
        severity: 'warn',
        title: `Time Machine backs up ${home.models}`,
        why: 'its local snapshots keep deleted shards on the disk, and its backups carry every layer',
        hint: `tmutil addexclusion '${home.models}'`,
        fix: {
          what: `leave ${home.models} out of Time Machine`,
          command: ['tmutil', 'addexclusion', home.models],
          safe: true,
        },
      },
    ];
  },
};
