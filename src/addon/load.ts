// The one door to native code: finds the binary, checks its contract, and turns what comes out of it
// into FlashmoeErrors. Nothing is loaded before someone asks, so commands that need no engine work without one.

import { CONTRACT } from './contract.js';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, join, resolve } from 'node:path';
import { asFlashmoeError, FlashmoeError } from '../base/errors.js';
import { packageRoot } from '../base/package-root.js';
import type { NativeAddon, NativeJob } from './types.js';

export interface AddonPlaces {
  /** $FLASHMOE_ADDON: the only candidate when set. */
  override?: string | undefined;
  /** `engine` of homePaths. */
  engineDir: string;
  /** As process.platform and process.arch name them. */
  platform: string;
  arch: string;
  /** Root of the package; the running one by default. */
  root?: string;
}

/** Where an addon built on this machine lies; renamed to this name only after its self-test passed. */
export function homeAddonPath(engineDir: string): string {
  return join(engineDir, 'flashmoe.node');
}

/** Paths to try, in order: the override alone, or home build, package build, prebuild. */
export function addonCandidates(places: AddonPlaces): string[] {
  if (places.override) return [resolve(places.override)];
  const root = places.root ?? packageRoot;
  return [
    homeAddonPath(places.engineDir),
    join(root, 'build', 'Release', 'flashmoe.node'),
    join(root, 'prebuilds', `${places.platform}-${places.arch}`, 'flashmoe.node'),
  ];
}

/**
 * Why a prebuilt addon may not be loaded: what came over a network is held against the hash that its release recorded
 * beside it. Null for one that may be, and for any other addon, which this machine built.
 */
export function prebuiltProblem(path: string): string | null {
  if (basename(dirname(dirname(path))) !== 'prebuilds') return null;
  const record = `${path}.sha256`;
  if (!existsSync(record)) return 'has no recorded sha256';
  const recorded = readFileSync(record, 'utf8').slice(0, 64);
  const found = createHash('sha256').update(readFileSync(path)).digest('hex');
  return found === recorded ? null : `has sha256 ${found}, recorded is ${recorded}`;
}

export interface LoadedAddon {
  addon: NativeAddon;
  path: string;
}

/**
 * The first candidate that loads and speaks this contract. A stale or foreign binary is passed over.
 * Throws ERR_ENGINE naming every candidate and why it was not taken.
 */
export function loadAddon(candidates: readonly string[]): LoadedAddon {
  const reasons: string[] = [];
  for (const path of candidates) {
    if (!existsSync(path)) {
      reasons.push(`${path}: not there`);
      continue;
    }
    const problem = prebuiltProblem(path);
    if (problem !== null) {
      reasons.push(`${path}: ${problem}`);
      continue;
    }
    try {
      const addon = createRequire(import.meta.url)(path) as Partial<NativeAddon>;
      if (addon.contract === CONTRACT) return { addon: addon as NativeAddon, path };
      reasons.push(`${path}: speaks contract ${String(addon.contract)}, needed is ${CONTRACT}`);
    } catch (thrown) {
      reasons.push(`${path}: ${thrown instanceof Error ? thrown.message : String(thrown)}`);
    }
  }
  throw new FlashmoeError(
    'ERR_ENGINE',
    `no usable native addon was found\n  ${reasons.join('\n  ')}`,
    { hint: 'run `flashmoe setup`, its engine step builds the addon' },
  );
}

/**
 * Waits for a native job, cancelling it when `signal` aborts. Returns or throws only after the native
 * threads have let go of their files. Throws FlashmoeErrors only; ERR_INTERRUPTED after an abort.
 */
export async function runJob<T>(job: NativeJob<T>, signal?: AbortSignal): Promise<T> {
  const cancel = () => job.cancel();
  const tooLate = signal?.aborted === true;
  if (tooLate) cancel();
  signal?.addEventListener('abort', cancel, { once: true });
  try {
    const result = await job.done;
    // A short job may be done before the word reaches it.
    if (tooLate) throw new FlashmoeError('ERR_INTERRUPTED', 'stopped before the beginning');
    return result;
  } catch (thrown) {
    // An abort may carry its own reason, such as a pause because the disk is full.
    if (signal?.aborted && signal.reason instanceof FlashmoeError) throw signal.reason;
    throw asFlashmoeError(thrown);
  } finally {
    signal?.removeEventListener('abort', cancel);
  }
}
