// A background service as data, and what every service manager can do with it. launchd/ and systemd/
// render the same description; neither file ever holds a token or a versioned Cellar path.

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
  status(label: string, signal: AbortSignal): Promise<ServiceStatus>;
}
