import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as plist from 'plist';
import { afterAll, expect, test } from 'vitest';
import { renderPlist } from '../../src/launchd/plist.js';
import { AWKWARD, awkwardService } from '../helpers/service-spec.js';

const root = mkdtempSync(join(tmpdir(), 'flashmoe-plist-'));
afterAll(() => rmSync(root, { recursive: true }));

const hasPlistutil = spawnSync('plistutil', ['--version']).status === 0;
if (!hasPlistutil) console.log('SKIP plistutil round trip: install libplist-utils');

/**
 * The values as another implementation understood them: XML to its binary form and back to XML.
 * plistutil exits 0 on bad input, so only what it wrote counts.
 */
function readBack(text: string): unknown {
  const [xml, binary, again] = [join(root, 'a'), join(root, 'b'), join(root, 'c')];
  writeFileSync(xml, text);
  spawnSync('plistutil', ['-i', xml, '-o', binary]);
  expect(readFileSync(binary).subarray(0, 8).toString()).toBe('bplist00');
  spawnSync('plistutil', ['-i', binary, '-o', again]);
  return plist.parse(readFileSync(again, 'utf8'));
}

test.skipIf(!hasPlistutil)('another plist implementation reads every value back unchanged', () => {
  const spec = awkwardService('/tmp/a folder');
  expect(readBack(renderPlist(spec))).toEqual({
    Label: spec.label,
    ProgramArguments: spec.command,
    EnvironmentVariables: spec.environment,
    WorkingDirectory: spec.workingDirectory,
    StandardOutPath: spec.stdoutPath,
    StandardErrorPath: spec.stderrPath,
    RunAtLoad: true,
    KeepAlive: { SuccessfulExit: false },
    ThrottleInterval: 30,
    ExitTimeOut: 30,
    ProcessType: 'Interactive',
    SoftResourceLimits: { NumberOfFiles: 4096 },
    LimitLoadToSessionType: 'Aqua',
  });
});

test('a service that must not restart has KeepAlive off', () => {
  const text = renderPlist(awkwardService('/tmp/x', { restart: 'never' }));
  expect(text).toMatch(/<key>KeepAlive<\/key>\s*<false\/>/);
});

test('markup in a value stays a value', () => {
  expect(AWKWARD).toContain('<a & b>');
  const text = renderPlist(awkwardService('/tmp/x'));
  expect(text).toContain('&lt;a &amp; b');
  expect(text).not.toContain('<a & b>');
});

test('a job on demand has no key that would start it at load', () => {
  const job = plist.parse(renderPlist(awkwardService('/tmp/x', { start: 'demand' })));
  expect(job).toMatchObject({ RunAtLoad: false, KeepAlive: { Crashed: true } });
});
