// The manual page, in the man macros that both groff and mandoc know: man(7).

import { EXIT } from '../base/errors.js';
import { allCommands, type CommandFacts, type OptionFacts } from './command-tree.js';

const EXIT_WORDS: Record<keyof typeof EXIT, string> = {
  done: 'done',
  failed: 'failed, or a check of the doctor did',
  usage: 'wrong usage, or an agreement was needed and not given',
  unavailable: 'not available now: offline, port or lock taken',
  disk: 'the disk is full or cannot be written',
  resumable: 'stopped on the way; the same command goes on from there',
  auth: 'a token, a licence or a permission is missing',
  interrupted: 'interrupted',
  terminated: 'terminated',
};

const ENVIRONMENT: [name: string, what: string][] = [
  ['FLASHMOE_HOME', 'folder of models, settings and logs; ~/.flashmoe without it'],
  ['FLASHMOE_API_KEY', 'key that clients of the server must send'],
  ['HF_TOKEN', 'token for gated repositories'],
  ['HF_ENDPOINT, HTTPS_PROXY, NO_PROXY', 'where the hub is, and the way to it'],
  ['NO_COLOR', 'no colours'],
];

/** roff, without a line break at its end. */
export function manualPage(root: CommandFacts, version: string, date: string): string {
  const [, ...commands] = allCommands(root);
  return [
    `.TH FLASHMOE 1 "${date}" "flashmoe ${version}" "User Commands"`,
    '.SH NAME',
    `flashmoe \\- ${escaped(lowerFirst(root.description))}`,
    '.SH SYNOPSIS',
    '.B flashmoe',
    '.I command',
    '[options]',
    '.SH EXAMPLES',
    ...examples(root),
    '.SH COMMANDS',
    ...commands.flatMap(section),
    '.SH OPTIONS',
    'These go with every command.',
    ...root.options.flatMap(option),
    '.SH EXIT STATUS',
    ...Object.entries(EXIT).flatMap(([name, status]) =>
      tagged(String(status), EXIT_WORDS[name as keyof typeof EXIT]),
    ),
    '.SH ENVIRONMENT',
    ...ENVIRONMENT.flatMap(([name, what]) => tagged(name, what)),
    '.SH FILES',
    ...tagged('~/.flashmoe/models', 'provisioned models'),
    ...tagged('~/.flashmoe/settings.json', 'default model, port and more: docs/settings.md'),
    ...tagged('~/.flashmoe/logs/server.log', 'log of the background server'),
  ].join('\n');
}

function section(command: CommandFacts): string[] {
  return [
    `.SS "flashmoe ${escaped(command.path.join(' '))}"`,
    text(`${command.description}.`),
    '.PP',
    `Usage: flashmoe ${escaped([...command.path, command.usage].join(' '))}`,
    ...command.options.flatMap(option),
    ...examples(command),
  ];
}

function option({ names, value, description, choices }: OptionFacts): string[] {
  const flags = names.join(', ') + (value === null ? '' : ` ${value}`);
  const among = choices.length === 0 ? '' : ` (${choices.join(', ')})`;
  return tagged(flags, `${description}${among}`);
}

function examples(command: CommandFacts): string[] {
  return command.examples.flatMap(([line, what]) => tagged(line, what));
}

const tagged = (tag: string, what: string): string[] => ['.TP', `.B ${text(tag)}`, text(what)];

/** A line that does not begin with a control character. */
function text(line: string): string {
  const shown = escaped(line);
  return /^[.']/.test(shown) ? `\\&${shown}` : shown;
}

/** Backslashes, hyphens that are to be pasted, and anything beyond ASCII. */
function escaped(line: string): string {
  return (
    line
      .replaceAll('\\', '\\e')
      .replaceAll('-', '\\-')
      .replaceAll('"', '\\(dq')
      // Terminals without it show nothing at all.
      .replaceAll('…', '...')
      .replace(/[^\x20-\x7e]/gu, (sign) => `\\[u${codeOf(sign)}]`)
  );
}

const codeOf = (sign: string): string =>
  (sign.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0');

const lowerFirst = (line: string): string => line.charAt(0).toLowerCase() + line.slice(1);
