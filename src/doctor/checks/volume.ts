import { lacksOf } from '../../machine/file-systems.js';
import { volumeFacts, type VolumeFacts } from '../../machine/volume-facts.js';
import type { Check } from '../check.js';
import type { Finding } from '../finding.js';

const id = 'disk.volume';

const REMOTE = new Set(['nfs', 'nfs4', 'smbfs', 'cifs', 'afpfs', 'webdav', '9p', 'fuse.sshfs']);
/** Words of system_profiler for links that carry less than 10 Gb/s. */
const SLOW_LINK = /^(low_speed|full_speed|high_speed|super_speed|(12|480) Mb\/s|5 Gb\/s)$/;

/** Kind, attachment and link of the volume that experts are read from. */
export const volume: Check = {
  id,
  title: 'file system of the models, how their disk is attached, speed of its link',
  timeoutMs: 30_000,
  async run({ home, host, exec }, signal) {
    const facts = await volumeFacts(home.models, host, exec, signal);
    if (facts !== null) return [judge(facts)];
    return [{ id, severity: 'skip', title: 'this system does not tell what its volumes are' }];
  },
};

function judge(facts: VolumeFacts): Finding {
  const { fileSystem, mountPoint, protocol, isInternal, linkSpeed } = facts;
  const attached = [
    ...(isInternal === null ? [] : [isInternal ? 'internal' : 'external']),
    ...(protocol === null ? [] : [protocol]),
    ...(linkSpeed === null ? [] : [linkSpeed.replaceAll('_', ' ')]),
  ].join(', ');
  const title = `models on ${mountPoint}: ${fileSystem}${attached === '' ? '' : `, ${attached}`}`;
  const move = 'move the home to an internal APFS volume, or to Thunderbolt, with FLASHMOE_HOME';
  const warn = (why: string): Finding => ({ id, severity: 'warn', title, why, hint: move });
  const lacks = lacksOf(fileSystem);
  if (lacks !== null) return warn(`${fileSystem} ${lacks}`);
  if (REMOTE.has(fileSystem)) return warn('experts would be read over the network for every token');
  if (facts.isRotating === true) return warn('a rotating disk reads single experts far too slowly');
  if (linkSpeed !== null && SLOW_LINK.test(linkSpeed)) {
    return warn('the link to the disk, not the disk, will bound the tokens per second');
  }
  if (isInternal === false) {
    const why = 'when it is unplugged or its enclosure falls asleep, the model is gone with it';
    return { id, severity: 'info', title, why };
  }
  return { id, severity: 'ok', title };
}
