// What the background service runs, as paths that survive upgrades. Pure, except that `exists` asks the disk.

import { dirname, join } from 'node:path';
import { externalMount } from './base/mounts.js';
import type { HomePaths } from './base/paths.js';
import type { ServiceSpec } from './service.js';

/** The one server of a user. Stable: a changed label would leave the old job behind. */
export const SERVER_LABEL = 'dev.flashmoe.server';
/** Written and rotated by the server itself. */
export const SERVER_LOG = 'server.log';
/** The one setup of a user that goes on without a terminal. */
export const PROVISION_LABEL = 'dev.flashmoe.provision';

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
  /** Folder of the logs; it must be there before any external volume is. Default: of the home. */
  logs?: string;
  start?: ServiceSpec['start'];
}

/**
 * Where the service writes: the home's logs, or the user's own place for logs when the home lies on a volume that
 * may be missing at login. Service managers start nothing whose log or working folder is missing.
 */
export function serviceLogs(home: HomePaths, homeDirectory: string, platform: string): string {
  if (externalMount(home.home) === null) return home.logs;
  const own = platform === 'darwin' ? 'Library/Logs' : '.local/state';
  return join(homeDirectory, own, 'flashmoe');
}

/** `flashmoe serve` as a service. Port and model are settings that the server reads, so the file stays constant. */
export function serverService(input: ServerServiceInput): ServiceSpec {
  const { node, entry, home, logs = home.logs, start = 'login' } = input;
  const program = stablePath(node);
  return {
    label: SERVER_LABEL,
    description: 'flashmoe: OpenAI-compatible server for models larger than memory',
    command: [program, stablePath(entry), 'serve', '--as-service'],
    workingDirectory: logs,
    environment: {
      FLASHMOE_HOME: home.home,
      // No shell profile is read by a service manager.
      PATH: [
        ...new Set([dirname(program), '/usr/local/bin', '/usr/bin', '/bin', '/usr/sbin']),
      ].join(':'),
    },
    // Only what the server could not put into its own log: a crash while starting.
    stdoutPath: join(logs, 'service.out.log'),
    stderrPath: join(logs, 'service.err.log'),
    restart: 'on-failure',
    start,
    throttleSeconds: 30,
    stopSeconds: 30,
  };
}

/** One setup as a job: not restarted when it ends, but begun again at login until it is done. */
export function provisionService({
  node,
  entry,
  home,
  args,
  environment,
}: ServerServiceInput & {
  /** Arguments of `flashmoe`. */
  args: string[];
  environment: Record<string, string>;
}): ServiceSpec {
  const server = serverService({ node, entry, home });
  const [program = '', script = ''] = server.command;
  return {
    ...server,
    label: PROVISION_LABEL,
    description: 'flashmoe: provisioning a model',
    command: [program, script, ...args],
    environment: { ...environment, ...server.environment, FLASHMOE_JOB: PROVISION_LABEL },
    stdoutPath: join(home.logs, 'provision.ndjson'),
    stderrPath: join(home.logs, 'provision.err.log'),
    restart: 'never',
  };
}
