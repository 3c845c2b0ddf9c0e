// A ServiceSpec as a LaunchAgent property list. Values are inserted by a library that knows the format.

import * as plist from 'plist';
import type { ServiceSpec } from '../service.js';
import { assertServiceSpec } from '../service.js';

/** Aqua: jobs of a graphical login. Background: of a user without one, e.g. over SSH. */
export type SessionType = 'Aqua' | 'Background';

/**
 * Both restart a crash and respect a clean stop; `true` would restart both. SuccessfulExit implies a start at load
 * (launchd.plist(5)), which a job that waits to be told must not do: it is restarted after a signal's crash only.
 */
const KEEP_ALIVE = { login: { SuccessfulExit: false }, demand: { Crashed: true } } as const;

/** The exact text of the file, UTF-8, ending in a line break. Throws ERR_SERVICE for a spec that must not be written. */
export function renderPlist(spec: ServiceSpec, session: SessionType = 'Aqua'): string {
  assertServiceSpec(spec);
  const job = {
    Label: spec.label,
    ProgramArguments: spec.command,
    EnvironmentVariables: spec.environment,
    WorkingDirectory: spec.workingDirectory,
    StandardOutPath: spec.stdoutPath,
    StandardErrorPath: spec.stderrPath,
    RunAtLoad: spec.start === 'login',
    KeepAlive: spec.restart === 'on-failure' ? KEEP_ALIVE[spec.start] : false,
    ThrottleInterval: spec.throttleSeconds,
    ExitTimeOut: spec.stopSeconds,
    // Anything less is throttled on CPU and disk, and disk reads are the product.
    ProcessType: 'Interactive',
    // A file a layer plus sockets; the default is 256.
    SoftResourceLimits: { NumberOfFiles: 4096 },
    LimitLoadToSessionType: session,
  };
  return `${plist.build(job)}\n`;
}
