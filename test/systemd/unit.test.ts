import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { renderUnit } from '../../src/systemd/unit.js';
import { awkwardService } from '../helpers/service-spec.js';

const root = realpathSync(mkdtempSync(join(tmpdir(), 'flashmoe-unit-')));
afterAll(() => rmSync(root, { recursive: true }));

const hasAnalyze = spawnSync('systemd-analyze', ['--version']).status === 0;
if (!hasAnalyze) console.log('SKIP systemd-analyze --user verify: install systemd');

/** systemd's own reading of a unit: complaints on stderr, and at debug level what it understood. */
function analyze(text: string, level: 'warning' | 'debug'): { stdout: string; stderr: string } {
  const file = join(root, 'dev.flashmoe.test.service');
  writeFileSync(file, text);
  return spawnSync('systemd-analyze', ['--user', '--man=no', 'verify', file], {
    encoding: 'utf8',
    env: { ...process.env, XDG_RUNTIME_DIR: root, SYSTEMD_LOG_LEVEL: level },
  });
}

test.skipIf(!hasAnalyze)('systemd finds nothing to complain about', () => {
  const spec = awkwardService(root);
  mkdirSync(spec.workingDirectory, { recursive: true });
  expect(analyze(renderUnit(spec), 'warning').stderr).toBe('');
});

test.skipIf(!hasAnalyze)(
  'systemd complains about a key it does not know, so silence means something',
  () => {
    const text = renderUnit(awkwardService(root)).replace('RestartSec=', 'RestartSecs=');
    expect(analyze(text, 'warning').stderr).toContain("Unknown key 'RestartSecs'");
  },
);

test.skipIf(!hasAnalyze)('systemd reads every awkward value back unchanged', () => {
  const spec = awkwardService(root);
  const { stdout } = analyze(renderUnit(spec), 'debug');
  const field = (name: string): string | undefined =>
    new RegExp(`^\\s*${name}: (.*)$`, 'm').exec(stdout)?.[1];
  expect(field('Description')).toBe(spec.description);
  expect(field('WorkingDirectory')).toBe(spec.workingDirectory);
  expect(field('StandardOutputFileToAppend')).toBe(spec.stdoutPath);
  expect(field('StandardErrorFileToAppend')).toBe(spec.stderrPath);
  expect(stdout).toContain(`Environment: MARKER=${spec.environment['MARKER']}\n`);
  // The dump quotes words as a shell reads them; $$ becomes $ only when the program is started.
  const words = spawnSync('sh', ['-c', `printf '%s\\0' ${field('Command Line') ?? ''}`], {
    encoding: 'utf8',
  }).stdout;
  expect(
    words
      .split('\0')
      .slice(0, -1)
      .map((word) => word.replaceAll('$$', '$')),
  ).toEqual(spec.command);
});

test.each([
  ['workingDirectory', '/tmp/ends with a backslash\\'],
  ['stdoutPath', '/tmp/ends with a blank '],
  ['description', ' begins with a blank'],
])('a %s that systemd cannot express is refused: %j', (field, value) => {
  expect(() => renderUnit(awkwardService(root, { [field]: value }))).toThrow(
    expect.objectContaining({ code: 'ERR_SERVICE' }),
  );
});

test('a service that must not restart says so', () => {
  expect(renderUnit(awkwardService(root, { restart: 'never' }))).toContain('\nRestart=no\n');
});
