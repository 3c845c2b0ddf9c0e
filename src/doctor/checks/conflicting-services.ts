import { existsSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { formatBytes } from '../../base/format.js';
import { homebrewDefinition } from '../../service.js';
import type { Check } from '../check.js';

/** Homebrew's own definition of the server: the two would fight for the port at every login. */
export const twins: Check = {
  id: 'service.homebrew',
  title: 'whether Homebrew has a second service of the server',
  timeoutMs: 10_000,
  async run(context, signal) {
    const id = 'service.homebrew';
    const brew = homebrewDefinition(context.host);
    if (!existsSync(brew)) {
      return [{ id, severity: 'ok', title: 'Homebrew runs no second server' }];
    }
    const manager = await context.serviceManager(signal);
    const own = manager?.definitionPath(context.service.label);
    if (own === undefined || !existsSync(own)) {
      return [{ id, severity: 'info', title: `Homebrew runs the server: ${brew}` }];
    }
    return [
      {
        id,
        severity: 'fail',
        title: `two services run the server: ${brew} and ${own}`,
        why: 'the second one finds its port in use and is started again and again',
        hint: 'brew services stop flashmoe',
        fix: {
          what: 'stop the service of Homebrew',
          command: ['brew', 'services', 'stop', 'flashmoe'],
          safe: true,
        },
      },
    ];
  },
};

/** The server empties it at its start; grown since, something crashes without end. */
const LONG_BYTES = 5e6;

export const crashLog: Check = {
  id: 'service.log',
  title: 'size of what the service could not log itself',
  timeoutMs: 10_000,
  async run({ service }) {
    const id = 'service.log';
    const sizes = await Promise.all(
      [service.stdoutPath, service.stderrPath].map((path) =>
        stat(path).then(
          ({ size }) => size,
          () => 0,
        ),
      ),
    );
    const bytes = sizes.reduce((sum, size) => sum + size, 0);
    if (bytes <= LONG_BYTES) {
      return [{ id, severity: 'ok', title: `${formatBytes(bytes)} of crash logs` }];
    }
    return [
      {
        id,
        severity: 'warn',
        title: `${formatBytes(bytes)} of crash logs`,
        why: 'the server writes there only what it cannot log itself, such as a crash',
        hint: `read the end of ${service.stderrPath}, then \`flashmoe service restart\``,
      },
    ];
  },
};
