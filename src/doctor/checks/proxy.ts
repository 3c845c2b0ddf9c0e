import { hubSettings } from '../../hub/settings.js';
import { parseScutilProxy } from '../../machine/macos.js';
import type { Check } from '../check.js';

const id = 'hub.proxy';

/** What is in effect and where it comes from; never a user or a password. */
export const proxy: Check = {
  id,
  title: 'proxy in effect and its source; whether the system has another one',
  timeoutMs: 10_000,
  async run({ host, exec, version }, signal) {
    const { env, homeDirectory } = host;
    const { settings } = await hubSettings({
      env,
      homeDirectory,
      userAgent: `flashmoe/${version}`,
    });
    if (settings.proxy !== null) {
      const { url, source, bypass } = settings.proxy;
      const credentials = url.username === '' ? '' : ', with a user name';
      const except = bypass.length === 0 ? '' : `, except for ${bypass.join(', ')}`;
      const title = `https goes through ${url.host} (${source})${credentials}${except}`;
      return [{ id, severity: 'ok', title }];
    }
    const system =
      host.platform === 'darwin'
        ? parseScutilProxy((await exec('scutil', ['--proxy'], { signal })).stdout)
        : null;
    if (system === null) return [{ id, severity: 'ok', title: 'no proxy is set' }];
    return [
      {
        id,
        severity: 'warn',
        title: `System Settings name ${system}, flashmoe connects without it`,
        why: 'only the environment is read, as by other programs of a terminal',
        hint: 'export HTTPS_PROXY=http://host:port',
      },
    ];
  },
};
