// What the background service runs, as paths that survive upgrades. Pure, except that `exists` asks the disk.

import { dirname, join } from 'node:path';
import type { HomePaths } from './base/paths.js';
import type { ServiceSpec } from './service.js';

/** The one server of a user. Stable: a changed label would leave the old job behind. */
export const SERVER_LABEL = 'dev.flashmoe.server';

/**
 * `<prefix>/Cellar/<formula>/<version>/…` as `<prefix>/opt/<formula>/…`, the link that Homebrew moves
 * along at each upgrade; any other path as it is.
 */
export function stablePath(path: string): string {
  return path.replace(/^(.*?)\/Cellar\/([^/]+)\/[^/]+(?=\/|$)/, '$1/opt/$2');
}

export interface ServerServiceInput {
  /** Real path of the running node. */
  node: string;
  /** Absolute path of dist/cli/main.js. */
  entry: string;
  home: HomePaths;
}

/** `flashmoe serve` as a service. Port and model are settings that the server reads, so the file stays constant. */
export function serverService({ node, entry, home }: ServerServiceInput): ServiceSpec {
  const program = stablePath(node);
  return {
    label: SERVER_LABEL,
    description: 'flashmoe: OpenAI-compatible server for models larger than memory',
    command: [program, stablePath(entry), 'serve'],
    workingDirectory: home.home,
    environment: {
      FLASHMOE_HOME: home.home,
      // No shell profile is read by a service manager.
      PATH: [
        ...new Set([dirname(program), '/usr/local/bin', '/usr/bin', '/bin', '/usr/sbin']),
      ].join(':'),
    },
    // Only what the server could not put into its own log: a crash while starting.
    stdoutPath: join(home.logs, 'service.out.log'),
    stderrPath: join(home.logs, 'service.err.log'),
    restart: 'on-failure',
    throttleSeconds: 30,
    stopSeconds: 30,
  };
}
