import { OLDEST_MACOS, knownBad } from '../../machine/known-bad.js';
import { parseSwVers } from '../../machine/macos.js';
import type { Check } from '../check.js';

const id = 'machine.os';

/** Old enough to lack what the engine needs, or known to run models badly. */
export const os: Check = {
  id,
  title: 'version of the operating system, against those known to run models badly',
  timeoutMs: 10_000,
  async run({ host, exec }, signal) {
    if (host.platform !== 'darwin') {
      return [{ id, severity: 'ok', title: `${host.platform} ${host.release}` }];
    }
    const version = parseSwVers((await exec('sw_vers', [], { signal })).stdout);
    if (version === null) {
      return [{ id, severity: 'skip', title: 'sw_vers did not say which macOS this is' }];
    }
    const title = `macOS ${version.product} (${version.build}${version.isBeta ? ', a beta' : ''})`;
    if (Number(version.product.split('.')[0]) < OLDEST_MACOS) {
      const hint = `update to macOS ${OLDEST_MACOS} or newer in System Settings`;
      return [{ id, severity: 'fail', title: `${title} is too old for the engine`, hint }];
    }
    const bad = knownBad(version);
    if (bad === null) return [{ id, severity: 'ok', title }];
    const why = `${bad.what}; reported in ${bad.source}`;
    const hint = 'if answers are slow here, use a release instead of the beta';
    return [{ id: 'machine.os_known_bad', severity: 'warn', title, why, hint }];
  },
};
