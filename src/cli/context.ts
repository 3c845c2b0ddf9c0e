// Everything a command may touch of the outside, built once from the parsed global options.

import { resolve } from 'node:path';
import { currentHost, flashmoeHome, type Host } from '../base/host.js';
import { homePaths, type HomePaths } from '../base/paths.js';
import { toNdjson } from '../ui/ndjson.js';
import { plainStyle, type Style } from '../ui/style.js';
import { useColor, useUnicode, type ColorChoice } from './color.js';
import { chooseOutputMode, type OutputMode } from './output-mode.js';
import { watchSignals, type Interruption } from './signals.js';

export interface GlobalOptions {
  json?: boolean;
  home?: string;
  color?: ColorChoice;
}

export interface CliContext {
  readonly host: Host;
  readonly version: string;
  readonly home: HomePaths;
  /** --home as it was typed: commands that we print must then name it, too. */
  readonly homeOption: string | null;
  readonly json: boolean;
  readonly outputMode: OutputMode;
  readonly color: { stdout: boolean; stderr: boolean };
  /** Styles for text on stdout, and on stderr. */
  readonly style: Style;
  readonly noteStyle: Style;
  readonly stdin: NodeJS.ReadStream;
  readonly stdout: NodeJS.WriteStream;
  readonly stderr: NodeJS.WriteStream;
  /** Columns for lines on stdout that are wrapped; without end where no terminal shows them. */
  readonly width: number;
  readonly signal: AbortSignal;
  readonly interruption: Interruption;
  /** What a person pastes to go on after an interruption; set by a command that can be resumed. */
  resumeCommand: string | null;
  /** A line of the result, to stdout. */
  print(line: string): void;
  /** A line of progress or diagnosis, to stderr. */
  note(line: string): void;
  /** One NDJSON line on stdout: `{v, t, event, …fields}`. */
  emit(event: string, fields: object): void;
}

export function createContext(options: GlobalOptions, version: string): CliContext {
  const host = currentHost();
  const { stdin, stdout, stderr } = process;
  const json = options.json ?? false;
  const choice = options.color ?? 'auto';
  const color = {
    stdout: useColor(choice, host.env, { isTTY: stdout.isTTY }),
    stderr: useColor(choice, host.env, { isTTY: stderr.isTTY }),
  };
  const outputMode = chooseOutputMode({
    json,
    stdinTTY: stdin.isTTY,
    stdoutTTY: stdout.isTTY,
    env: host.env,
  });
  const unicode = useUnicode(host.env, host.platform);
  const attached = stdin.isTTY || stdout.isTTY || stderr.isTTY;
  const interruption = watchSignals(process, attached, () => {
    if (outputMode === 'plain') stderr.write('stopping; Ctrl-C again stops at once\n');
  });
  return {
    host,
    version,
    home: homePaths(options.home === undefined ? flashmoeHome(host) : resolve(options.home)),
    homeOption: options.home ?? null,
    json,
    outputMode,
    color,
    style: plainStyle({ color: color.stdout, unicode }),
    noteStyle: plainStyle({ color: color.stderr, unicode }),
    stdin,
    stdout,
    stderr,
    width: stdout.isTTY ? stdout.columns - 1 : Number.POSITIVE_INFINITY,
    signal: interruption.signal,
    interruption,
    resumeCommand: null,
    print: (line) => void stdout.write(`${line}\n`),
    note: (line) => void stderr.write(`${line}\n`),
    emit: (event, fields) => void stdout.write(`${toNdjson(event, fields, host.now())}\n`),
  };
}
