// A machine for the checks: this one, with a throw-away home and what a test changes.

import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { exec } from '../../src/base/exec.js';
import { currentHost } from '../../src/base/host.js';
import { homePaths } from '../../src/base/paths.js';
import { CHECKS } from '../../src/doctor/all-checks.js';
import type { Finding } from '../../src/doctor/finding.js';
import { examine } from '../../src/doctor/run.js';
import type { DoctorContext, ModelFiles } from '../../src/doctor/context.js';
import { serverService } from '../../src/service-command.js';

export const signal = new AbortController().signal;

export function testWorld(change: Partial<DoctorContext> = {}): DoctorContext {
  const root = mkdtempSync(join(tmpdir(), 'flashmoe-doctor-'));
  onTestFinished(() => rmSync(root, { recursive: true, force: true }));
  const home = homePaths(join(root, 'home'));
  mkdirSync(home.models, { recursive: true });
  const host = { ...currentHost(), env: { PATH: process.env['PATH'] }, homeDirectory: root };
  return {
    host,
    version: '0.0.0',
    home,
    exec,
    port: 1,
    portOwner: () => Promise.resolve(null),
    models: () => Promise.resolve({ complete: [], unfinished: [], unreadable: [] }),
    addonPaths: [],
    probeAddon: () => Promise.resolve({ ok: false, reason: 'was not expected to be asked' }),
    probeBackend: () => Promise.reject(new Error('no backend was expected to be tested')),
    probeDevice: () => Promise.resolve({ device: null, reason: 'was not expected to be asked' }),
    measureReads: () => Promise.reject(new Error('was not expected to measure')),
    askKnown: () => Promise.reject(new Error('was not expected to ask')),
    hubAnswer: () =>
      Promise.resolve({
        endpoint: 'https://hub.example',
        milliseconds: 20,
        problem: null,
        hint: null,
      }),
    tokenVerdict: () => Promise.reject(new Error('was not expected to send a token')),
    serviceManager: () => Promise.resolve(null),
    service: serverService({ node: process.execPath, entry: process.execPath, home }),
    ...change,
  };
}

/** Findings of one check or group. */
export async function findings(only: string, world: DoctorContext): Promise<Finding[]> {
  return (await examine(CHECKS, world, { signal, only: [only] })).findings;
}

/** A finished model of these files, of which none need exist. */
export function modelFiles(id: string, root: string, files: ModelFiles['files'] = []): ModelFiles {
  const shape = { model: id, quant: '4bit', experts: 'packed_experts' } as const;
  return { id, root, files, ...shape, tokensPerSecond: null };
}

/** A Mac whose tools answer with these texts; any other tool is not there. */
export function mac(world: DoctorContext, tools: Record<string, string>): DoctorContext {
  const host = { ...world.host, platform: 'darwin' as const, arch: 'arm64' };
  return {
    ...world,
    host: { ...host, cpuModel: 'Apple M4 Pro' },
    exec: (program, args) => {
      const line = [program, ...args].join(' ');
      const known = Object.keys(tools).find((start) => line.startsWith(start));
      const stdout = known === undefined ? '' : (tools[known] ?? '');
      return Promise.resolve({ exitCode: known === undefined ? null : 0, stdout, stderr: '' });
    },
  };
}
