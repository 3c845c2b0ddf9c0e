// A background service as data, and what every service manager can do with it. launchd/ and systemd/
// render the same description; neither file ever holds a token or a versioned Cellar path.

import { isAbsolute, join } from 'node:path';
import { FlashmoeError } from './base/errors.js';

export interface ServiceSpec {
  /** Reverse-DNS, e.g. dev.flashmoe.server. */
  label: string;
  description: string;
  /** Absolute program and arguments. */
  command: string[];
  workingDirectory: string;
  environment: Record<string, string>;
  stdoutPath: string;
  stderrPath: string;
  restart: 'on-failure' | 'never';
  /** login: by itself at every login. demand: only when it is told to. */
  start: 'login' | 'demand';
  /** Seconds between restarts, and to a SIGKILL at stop. */
  throttleSeconds: number;
  stopSeconds: number;
}

export interface ServiceStatus {
  manager: 'launchd' | 'systemd' | 'none';
  installed: boolean;
  running: boolean;
  pid: number | null;
  lastExitCode: number | null;
  definitionPath: string | null;
  detail: string;
}

export interface ServiceManager {
  readonly kind: 'launchd' | 'systemd';
  /** The definition file's exact text, for --dry-run and tests. */
  render(spec: ServiceSpec): string;
  definitionPath(label: string): string;
  install(spec: ServiceSpec, signal: AbortSignal): Promise<ServiceStatus>;
  uninstall(label: string, signal: AbortSignal): Promise<ServiceStatus>;
  /** Nothing to do when it runs. ERR_SERVICE when it is not installed; so do the next two. */
  start(label: string, signal: AbortSignal): Promise<ServiceStatus>;
  /** Ends it and waits; it starts again at the next login where it was installed so. */
  stop(label: string, signal: AbortSignal): Promise<ServiceStatus>;
  /** A new process from the definition that the manager has read; starts it where it was stopped. */
  restart(label: string, signal: AbortSignal): Promise<ServiceStatus>;
  /** Takes the definition away and stops nothing: for a job that is about to end by itself. */
  forget(label: string): Promise<void>;
  status(label: string, signal: AbortSignal): Promise<ServiceStatus>;
}

/** Where `brew services start flashmoe` puts its own definition of the server. */
export function homebrewDefinition({
  homeDirectory,
  platform,
}: {
  homeDirectory: string;
  platform: NodeJS.Platform;
}): string {
  return platform === 'darwin'
    ? join(homeDirectory, 'Library/LaunchAgents/homebrew.mxcl.flashmoe.plist')
    : join(homeDirectory, '.config/systemd/user/homebrew.flashmoe.service');
}

const SECRET_NAME = /token|secret|passw|credential|api_?key|authorization/i;
/** Token shapes of the hub and of common APIs, and a URL with a password in it. */
const SECRET_VALUE = /\bhf_\w{8,}|\bsk-[\w-]{16,}|\bgh[pousr]_\w{16,}|:\/\/[^\s/@:]+:[^\s/@]+@/;
const CONTROL = /[\u0000-\u001f\u007f]/;

/**
 * Throws ERR_SERVICE unless the description may be written to a file that other users can read and
 * that must outlive upgrades: no secret, no `/Cellar/`, absolute paths, nothing that breaks a line.
 * Messages name the field, never its value when it looks like a secret.
 */
export function assertServiceSpec(spec: ServiceSpec): void {
  assertLabel(spec.label);
  const paths: [string, string | undefined][] = [
    ['program', spec.command[0]],
    ['working directory', spec.workingDirectory],
    ['stdout path', spec.stdoutPath],
    ['stderr path', spec.stderrPath],
  ];
  for (const [field, path] of paths) {
    if (path === undefined || !isAbsolute(path)) {
      refuse(field, `must be an absolute path, got ${path ?? 'nothing'}`);
    }
  }
  const variables = Object.entries(spec.environment);
  for (const [name, value] of variables) {
    if (!/^[A-Za-z_]\w*$/.test(name)) refuse('environment', `${name} is not a variable name`);
    if (SECRET_NAME.test(name) || SECRET_VALUE.test(value)) {
      refuse(
        `environment variable ${name}`,
        'looks like a secret, and the file is readable by all',
      );
    }
  }
  const texts: [string, string][] = [
    ...paths.map(([field, path]): [string, string] => [field, path ?? '']),
    ...spec.command.map((word, index): [string, string] => [`argument ${index}`, word]),
    ...variables.map(([name, value]): [string, string] => [`environment variable ${name}`, value]),
    ['description', spec.description],
  ];
  for (const [field, text] of texts) {
    if (SECRET_VALUE.test(text)) refuse(field, 'looks like a secret');
    if (CONTROL.test(text)) refuse(field, 'holds a line break or another control character');
    if (text.includes('/Cellar/')) {
      refuse(field, `names a versioned Homebrew path, which the next upgrade deletes: ${text}`);
    }
  }
}

/** Labels become file names and unit names. */
export function assertLabel(label: string): void {
  if (!/^[A-Za-z0-9][A-Za-z0-9.-]*$/.test(label)) {
    refuse('label', `may hold letters, digits, dots and hyphens, got ${JSON.stringify(label)}`);
  }
}

/** For managers: what start, stop and restart answer without a definition. */
export function notInstalled(label: string): FlashmoeError {
  return new FlashmoeError('ERR_SERVICE', `${label} is not installed as a service`, {
    hint: 'flashmoe service install',
    subject: label,
  });
}

function refuse(field: string, why: string): never {
  throw new FlashmoeError('ERR_SERVICE', `the service was not written: its ${field} ${why}`, {
    subject: field,
  });
}
