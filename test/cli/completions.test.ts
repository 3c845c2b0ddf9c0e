// Completions as the shells themselves understand them, and the manual page as the formatters do.

import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { commandTree } from '../../src/cli/command-tree.js';
import { bashCompletion } from '../../src/cli/shells/bash.js';
import { manualPage } from '../../src/cli/manual.js';
import { BUILD_MS, buildCli, flashmoe } from '../helpers/built-cli.js';

const root = mkdtempSync(join(tmpdir(), 'flashmoe-shells-'));
const env = { ...process.env, FLASHMOE_HOME: join(root, 'home') };
mkdirSync(join(root, 'home', 'models', 'my-own'), { recursive: true });
afterAll(() => rmSync(root, { recursive: true, force: true }));
beforeAll(buildCli, BUILD_MS);

/** What the CLI prints, in a file. */
async function printed(...args: string[]): Promise<string> {
  const { status, stdout } = await flashmoe(args);
  expect(status).toBe(0);
  const path = join(root, args.join('-'));
  writeFileSync(path, stdout);
  return path;
}

const has = (program: string): boolean => {
  const found = spawnSync(program, ['--version']).error === undefined;
  if (!found) console.log(`SKIP completion or manual with ${program}: it is not installed`);
  return found;
};

function run(program: string, args: string[]): string {
  const { stdout, stderr, status } = spawnSync(program, args, { encoding: 'utf8', cwd: root, env });
  expect(stderr).toBe('');
  expect(status).toBe(0);
  return stdout;
}

const CASES: [words: string[], offered: string[], not: string[]][] = [
  [[''], ['setup', 'doctor', 'service', 'completions'], ['install']],
  [['serv'], ['serve', 'service'], ['setup']],
  [['service', ''], ['install', 'restart', 'logs'], ['setup']],
  [['service', 'install', '--o'], ['--on-demand'], ['--port']],
  [['doctor', '--s'], ['--strict', '--sim'], ['--port']],
  [['setup', '--quant', ''], ['4bit', '2bit'], ['--yes']],
  [['--color', 'al'], ['always'], ['never']],
  [['setup', 'tiny', '--js'], ['--json'], []],
  [['chat', ''], ['tiny', 'my-own'], ['setup']],
  [['use', 'my'], ['my-own'], ['tiny']],
  [['serve', '--model', ''], ['my-own', 'qwen3.5-35b'], ['--port']],
  [['doctor', '--only', 'hub'], ['hub', 'hub.answers'], ['disk.free']],
  [['doctor', '--sim', 'm4-pro'], ['m4-pro-24'], ['tiny']],
  [['eval', '--skills', ''], ['tool_call', 'unicode'], ['smoke']],
  [['completions', ''], ['bash', 'zsh', 'fish'], ['setup']],
];

function judge(offers: string[], [, offered, not]: (typeof CASES)[number]): void {
  for (const word of offered) expect(offers).toContain(word);
  for (const word of not) expect(offers).not.toContain(word);
}

describe.skipIf(!has('bash'))('bash', () => {
  test.each(CASES)('offers after %j', async (words, ...rest) => {
    const script = await printed('completions', 'bash');
    const driver = `source '${script}'; COMP_WORDS=(flashmoe "$@"); COMP_CWORD=$#; _flashmoe; printf '%s\\n' "\${COMPREPLY[@]}"; complete -p flashmoe`;
    const lines = run('bash', ['--norc', '-c', driver, 'bash', ...words])
      .trim()
      .split('\n');
    expect(lines.at(-1)).toContain('-F _flashmoe');
    judge(lines.slice(0, -1), [words, ...rest]);
  });
});

describe.skipIf(!has('zsh'))('zsh', () => {
  // The completion system wants a terminal; what it would be told is caught where it is told.
  test.each(CASES)('offers after %j', async (words, ...rest) => {
    const script = await printed('completions', 'zsh');
    const driver = [
      'compdef() { :; }',
      '_files() { :; }',
      '_describe() { for candidate in "${(@P)4}"; do print -r -- "${candidate%%:*}"; done; }',
      'compadd() { shift; print -rl -- "$@"; }',
      `source '${script}'`,
      'words=(flashmoe "$@"); CURRENT=$#words; _flashmoe',
    ].join('\n');
    const offers = run('zsh', ['-f', '-c', driver, 'zsh', ...words]).split('\n');
    // zsh itself keeps those that begin with the word typed.
    judge(
      offers.filter((offer) => offer.startsWith(words.at(-1) ?? '')),
      [words, ...rest],
    );
  });
});

describe.skipIf(!has('fish'))('fish', () => {
  test.each(CASES)('offers after %j', async (words, ...rest) => {
    const script = await printed('completions', 'fish');
    const line = ['flashmoe', ...words].join(' ');
    const driver = `source '${script}'; complete -C '${line}'`;
    const lines = run('fish', ['--no-config', '-c', driver]).trim().split('\n');
    judge(
      lines.map((offer) => offer.split('\t')[0] ?? ''),
      [words, ...rest],
    );
  });
});

test('a command that is defined tomorrow appears in completion and manual by itself', () => {
  const program = new Command('flashmoe').description('Run');
  program
    .command('tomorrow')
    .description("what isn't known, yet: \\ all")
    .option('--when <day>', 'x');
  expect(bashCompletion(commandTree(program), [])).toContain('tomorrow');
  const page = manualPage(commandTree(program), '1.0.0', '2026-01-01');
  expect(page).toContain('.SS "flashmoe tomorrow"');
  expect(page).toContain('\\-\\-when <day>');
  expect(page).toContain('\\e all');
});

describe('the manual page', () => {
  test.skipIf(!has('mandoc'))('is clean to mandoc', async () => {
    const page = await printed('man');
    expect(run('mandoc', ['-T', 'lint', '-W', 'warning', page])).toBe('');
  });

  test.skipIf(!has('groff'))('is clean to groff, and names every command and option', async () => {
    const page = await printed('man');
    const text = run('groff', ['-man', '-ww', '-Tascii', '-P-cbou', page]);
    for (const words of [
      'service install',
      '--on-demand',
      'EXIT STATUS',
      '--strict',
      'uninstall',
    ]) {
      expect(text).toContain(words);
    }
  });
});
