// tools/need.sh on machines that lack things: a PATH of its own, with stand-ins for what is there.

import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';

const script = resolve(import.meta.dirname, '../../tools/need.sh');
let bin: string;

beforeEach(() => {
  bin = mkdtempSync(join(tmpdir(), 'flashmoe-need-'));
  for (const tool of ['sh', 'mktemp', 'rm', 'head', 'grep']) real(tool);
  program('uname', 'echo Linux');
  program('id', 'echo 501');
});
afterEach(() => rmSync(bin, { recursive: true }));

function real(name: string): void {
  const { stdout } = spawnSync('sh', ['-c', `command -v ${name}`], { encoding: 'utf8' });
  symlinkSync(stdout.trim(), join(bin, name));
}

function program(name: string, body: string): void {
  writeFileSync(join(bin, name), `#!/bin/sh\n${body}\n`);
  chmodSync(join(bin, name), 0o755);
}

function need(...tools: string[]): { status: number | null; stderr: string } {
  return spawnSync('/bin/sh', [script, ...tools], { encoding: 'utf8', env: { PATH: bin } });
}

test('a machine with everything is silent', () => {
  symlinkSync(process.execPath, join(bin, 'node'));
  for (const tool of ['npm', 'c++', 'make', 'python3']) program(tool, 'exit 0');
  expect(need('node', 'compiler', 'python')).toMatchObject({ status: 0, stderr: '' });
});

test('on Debian everything that is missing is named with one apt-get command each', () => {
  program('apt-get', 'exit 0');
  program('apt-cache', 'echo "  Candidate: 20.19.2+dfsg-1"');
  const { status, stderr } = need('node', 'compiler', 'python');
  expect(status).toBe(69);
  expect(stderr.match(/^hint: .*$/gm)).toEqual([
    'hint: sudo apt-get install -y nodejs npm',
    'hint: sudo apt-get install -y g++ make',
    'hint: sudo apt-get install -y python3',
  ]);
});

test('a Node that is too old is named with its version, and the distribution that has no newer one', () => {
  program('apt-get', 'exit 0');
  program('apt-cache', 'echo "  Candidate: 18.20.4+dfsg-1~deb12u1"');
  program('node', 'case $1 in --version) echo v18.20.4 ;; *) exit 1 ;; esac');
  const { status, stderr } = need('node');
  expect(status).toBe(69);
  expect(stderr).toContain('Node.js 20.19 or newer is needed, found v18.20.4');
  expect(stderr).toContain('npm install -g n && sudo n lts');
});

test('on macOS the hints are brew and xcode-select', () => {
  program('uname', 'echo Darwin');
  const { stderr } = need('node', 'compiler', 'python');
  expect(new Set(stderr.match(/^hint: .*$/gm))).toEqual(
    new Set(['hint: brew install node', 'hint: xcode-select --install']),
  );
});

test('a compiler that compiles nothing is told apart from none, in its own words', () => {
  program('c++', 'echo "fatal error: vector: file not found" >&2; exit 1');
  program('make', 'exit 0');
  const { status, stderr } = need('compiler');
  expect(status).toBe(69);
  expect(stderr).toContain('does not compile one line: fatal error: vector: file not found');
});
