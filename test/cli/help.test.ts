import { Command } from 'commander';
import { beforeAll, describe, expect, test } from 'vitest';
import { defineCommands } from '../../src/cli/commands.js';
import { BUILD_MS, buildCli, flashmoe } from '../helpers/built-cli.js';

beforeAll(buildCli, BUILD_MS);

function pathsOf(command: Command, path: string[] = []): string[][] {
  return command.commands.flatMap((each) => {
    const own = [...path, each.name()];
    return [own, ...pathsOf(each, own)];
  });
}

const program = new Command('flashmoe');
await defineCommands(
  program,
  () => {
    throw new Error('help opens nothing');
  },
  () => undefined,
);
const paths = pathsOf(program);

describe('help', () => {
  test('names every command that the design promises', () => {
    expect(paths.map((path) => path.join(' '))).toEqual([
      'setup',
      'pull',
      'models',
      'plan',
      'attach',
      'limit',
      'hours',
      'pause',
      'resume',
      'stop',
      'report',
      'chat',
      'run',
      'serve',
      'ps',
      'connect',
      'launch',
      'use',
      'service',
      'service install',
      'service start',
      'service stop',
      'service restart',
      'service logs',
      'service uninstall',
      'service status',
      'status',
      'show',
      'doctor',
      'verify',
      'requantise',
      'update',
      'mv',
      'rm',
      'share',
      'config',
      'config list',
      'config get',
      'config set',
      'config unset',
      'config path',
      'upgrade',
      'uninstall',
      'bench',
      'eval',
      'quality',
      'calibrate',
      'logits',
      'completions',
      'man',
      'version',
    ]);
  });

  test.each(paths.map((path) => [path.join(' '), path] as const))(
    '%s --help begins with examples of itself, fits 80 columns and exits 0',
    async (name, path) => {
      const { status, stdout, stderr } = await flashmoe([...path, '--help']);
      expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
      const [title, first = ''] = stdout.split('\n');
      expect(title).toBe('Examples:');
      expect(first).toContain(`flashmoe ${name}`);
      expect(stdout).toContain('--json');
      for (const line of stdout.split('\n')) expect(line.length, line).toBeLessThanOrEqual(80);
    },
  );

  test('without a command the help goes to stderr and the status is 64', async () => {
    const { status, stdout, stderr } = await flashmoe([]);
    expect(status).toBe(64);
    expect(stdout).toBe('');
    expect(stderr).toContain('flashmoe setup');
  });
});

test('what people type for the version and for the help of a command gives just that', async () => {
  const [v, version, help, own] = await Promise.all([
    flashmoe(['-v']),
    flashmoe(['--version']),
    flashmoe(['help', 'service', 'install']),
    flashmoe(['service', 'install', '--help']),
  ]);
  expect(v).toEqual(version);
  expect(help).toEqual(own);
});

describe('what was typed wrong exits 64 with one hint', () => {
  test.each([
    [['setpu'], "unknown command 'setpu'", 'did you mean setup?'],
    [['setup', 'tiny', '--quan', '2bit'], "unknown option '--quan'", 'did you mean --quant?'],
    [['install', 'tiny'], "unknown command 'install'", '`flashmoe setup`'],
    [['download'], "unknown command 'download'", '`flashmoe pull`'],
    [['lst'], "unknown command 'lst'", 'did you mean list?'],
    [['instal'], "unknown command 'instal'", 'here it is called `flashmoe setup`'],
    [['service', 'instal'], "unknown command 'instal'", 'did you mean install?'],
    [['setup', 'tiny', '--quant', '7bit'], 'Allowed choices are', 'help setup'],
    [['serve', '--port', '99999'], 'It must be a whole number from 0 to 65535', 'help serve'],
    [['run', '--temperature', 'hot', 'hi'], 'must be a number from 0 to 5', 'help run'],
    [['plan', 'qwen'], 'there is no model "qwen"; did you mean one of qwen3.5-397b', 'models'],
    [['pull', 'llama3'], 'there is no model "llama3"', '--repo org/name'],
    [['stat'], "unknown command 'stat'", 'did you mean status?'],
    [['sto'], "unknown command 'sto'", 'did you mean stop?'],
    [['restart'], "unknown command 'restart'", '`flashmoe service restart`'],
    [['login'], "unknown command 'login'", 'no account is needed'],
    [['push', 'x'], "unknown command 'push'", 'nothing is uploaded'],
    [['help', 'xyz'], "unknown command 'xyz'", 'lists the commands'],
    [['help', 'lst'], "unknown command 'lst'", 'did you mean list?'],
    [['--modle', 'tiny'], "unknown option '--modle'", 'lists the commands'],
    [['show'], 'flashmoe show: the model is missing', '`flashmoe help show`'],
    [['status', 'tiny'], 'flashmoe status takes no argument, and 1 was typed', 'help status'],
    [['chat', 'hello', 'there'], 'flashmoe chat takes at most 1, and 2 were typed', 'quotes'],
    [['launch', 'claude'], "'claude' is no client; there are claude-code", 'help launch'],
    [['run', 'hello', 'there'], 'two arguments, and hello is no model', 'stands in quotes'],
    [['plan', '--repo', '../etc'], '"../etc" is no repository name', '`org/name`'],
    [['plan', 'tiny', '--repo', 'a/b'], 'tiny and --repo a/b are two models', 'not both'],
    [['setup'], 'no model was named', 'flashmoe setup'],
    [['doctor', '--only', 'nix'], 'there is no check called nix', 'machine.chip'],
  ])('flashmoe %j', async (args, message, hint) => {
    const { status, stdout, stderr } = await flashmoe(args);
    expect(status).toBe(64);
    expect(stdout).toBe('');
    const [text, said] = stderr.split('\n\nhint: ');
    expect(text).toContain(message);
    expect(text).not.toContain('error:');
    expect(said).toContain(hint);
  });
});
