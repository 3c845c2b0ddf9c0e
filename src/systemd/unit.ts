// A ServiceSpec as a systemd user unit. The structure is templates/systemd.service.in; this file knows
// how each kind of value is written (systemd.syntax(7), systemd.service(5), systemd.unit(5)).

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../base/package-root.js';
import { FlashmoeError } from '../base/errors.js';
import type { ServiceSpec } from '../service.js';
import { assertServiceSpec } from '../service.js';

const TEMPLATE = join(packageRoot, 'templates', 'systemd.service.in');

/** The exact text of the unit. Throws ERR_SERVICE for a spec that must not or cannot be written. */
export function renderUnit(spec: ServiceSpec): string {
  assertServiceSpec(spec);
  const [program = '', ...args] = spec.command;
  const values: Record<string, string> = {
    DESCRIPTION: plain(spec.description, 'description'),
    COMMAND: [quoted(program), ...args.map((word) => quoted(word.replaceAll('$', '$$$$')))].join(
      ' ',
    ),
    WORKING_DIRECTORY: plain(spec.workingDirectory, 'working directory'),
    ENVIRONMENT: Object.entries(spec.environment)
      .map(([name, value]) => `Environment=${quoted(`${name}=${value}`)}`)
      .join('\n'),
    STDOUT: plain(spec.stdoutPath, 'stdout path'),
    STDERR: plain(spec.stderrPath, 'stderr path'),
    RESTART: spec.restart === 'on-failure' ? 'on-failure' : 'no',
    RESTART_SECONDS: String(spec.throttleSeconds),
    STOP_SECONDS: String(spec.stopSeconds),
  };
  return readFileSync(TEMPLATE, 'utf8').replace(/@([A-Z_]+)@/g, (_, key: string) => {
    const value = values[key];
    if (value === undefined) throw new Error(`templates/systemd.service.in: unknown @${key}@`);
    return value;
  });
}

/**
 * One word of ExecStart= or Environment=, always in double quotes. `%` starts a specifier anywhere; `$`
 * a variable in arguments only (not in the program, not in Environment=), so the caller doubles it there.
 */
function quoted(word: string): string {
  const escaped = word.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('%', '%%');
  return `"${escaped}"`;
}

/** A value that runs to the end of the line: no quotes exist, only `%` is special, and the line's ends. */
function plain(value: string, field: string): string {
  if (value !== value.trim() || value.endsWith('\\')) {
    throw new FlashmoeError(
      'ERR_SERVICE',
      `the service was not written: systemd cannot express its ${field}, which begins or ends with a blank or ends with a backslash: ${JSON.stringify(value)}`,
      { subject: field },
    );
  }
  return value.replaceAll('%', '%%');
}
