// flashmoe verify [MODEL]: reads every file again and compares its hash with the manifests.

import { lstat } from 'node:fs/promises';
import { join } from 'node:path';
import { runJob } from '../../addon/load.js';
import type { NativeAddon } from '../../addon/types.js';
import { EXIT, FlashmoeError } from '../../base/errors.js';
import { formatBytes, formatBytesBoth } from '../../base/format.js';
import { recordDamage } from '../../installer/damage.js';
import type { OwnedFile } from '../../installer/manifest.js';
import { verifyModel, type VerifiedFile } from '../../repack/verify.js';
import { percent } from '../../ui/bar.js';
import { clockWithSeconds } from '../../ui/clock.js';
import type { CliContext } from '../context.js';
import { chooseInstalled, readyInstallations, type Ready } from '../installed.js';
import { nativeAddon } from '../native.js';

const PROGRESS_MS = 60_000;

/** Exit status 1 when a file differs. All models when none is named. */
export async function verify(context: CliContext, name: string | null): Promise<number> {
  const models =
    name === null ? await readyInstallations(context.home) : [await chooseInstalled(context, name)];
  if (models.length === 0) {
    throw new FlashmoeError('ERR_MODEL_MISSING', 'no model is provisioned here yet', {
      hint: 'flashmoe setup',
    });
  }
  const addon = nativeAddon(context);
  const damaged: Ready[] = [];
  const results: { id: string; ok: boolean; files: VerifiedFile[] }[] = [];
  for (const model of models) {
    const files = await verifyOne(context, addon, model);
    const ok = files.every(({ problem }) => problem === null);
    if (!ok) damaged.push(model);
    // Their sizes may be right: without this note the next setup would take them for whole.
    const bad = files.filter(({ problem }) => problem !== null).map(({ path }) => path);
    if (!ok) await recordDamage(model.paths, bad);
    results.push({ id: model.id, ok, files });
    if (!context.json) tell(context, model, files);
  }
  if (context.json) context.emit('verified', { ok: damaged.length === 0, models: results });
  const [first] = damaged;
  if (first !== undefined && !context.json) {
    context.note(`\nhint: \`flashmoe setup ${first.manifest.model}\` replaces what is damaged`);
  }
  return first === undefined ? EXIT.done : EXIT.failed;
}

async function verifyOne(
  context: CliContext,
  addon: NativeAddon,
  { paths, manifest }: Ready,
): Promise<VerifiedFile[]> {
  let toldAt = context.host.monotonic();
  const packed = await verifyModel(paths.root, {
    addon,
    signal: context.signal,
    onProgress: (file, done, total) => {
      const now = context.host.monotonic();
      if (now - toldAt < PROGRESS_MS) return;
      toldAt = now;
      if (context.json) {
        context.emit('progress', { step: 'verify', item: file, done, total });
        return;
      }
      const clock = clockWithSeconds(context.host.now());
      context.note(`${clock} ${percent(done / total)} of ${formatBytes(total)}, ${file}`);
    },
  });
  const seen = new Map(packed.map((file) => [file.path, file]));
  const others = manifest.files.filter(({ path }) => !seen.has(path));
  const rest = await Promise.all(
    others.map(async (file) => ({
      ...file,
      problem: await problemOf(context, addon, paths.root, file),
    })),
  );
  // The two records of a packed file must tell the same, or one of them was changed.
  const disagreeing = manifest.files.flatMap((file) => {
    const other = seen.get(file.path);
    const same = other === undefined || other.sha256 === file.sha256;
    return same ? [] : [{ ...file, problem: 'manifest.json and its own manifest disagree' }];
  });
  return [...packed, ...rest, ...disagreeing];
}

/** Of a file that only manifest.json knows: tokenizer, template, configs. */
async function problemOf(
  context: CliContext,
  addon: NativeAddon,
  root: string,
  { path, size, sha256 }: OwnedFile,
): Promise<string | null> {
  const absolute = join(root, path);
  const found = await lstat(absolute).catch(() => null);
  if (found === null) return 'is missing';
  if (!found.isFile()) return 'is not a regular file';
  if (found.size !== size) return `is ${found.size} bytes, should be ${size}`;
  const { signal } = context;
  const hashed = await runJob(
    addon.hashFile(absolute, () => undefined),
    signal,
  );
  return hashed.sha256 === sha256 ? null : 'its content changed (sha256 differs)';
}

function tell(context: CliContext, { id, paths }: Ready, files: VerifiedFile[]): void {
  const { style } = context;
  const bad = files.filter(({ problem }) => problem !== null);
  const bytes = files.reduce((sum, { size }) => sum + size, 0);
  const all = `${files.length} files, ${formatBytesBoth(bytes)}`;
  if (bad.length === 0) {
    context.print(`${style.good(style.glyph.ok)} ${id}: ${all}, every hash is right`);
    return;
  }
  context.print(`${style.bad(style.glyph.fail)} ${id}: ${bad.length} of ${all} are damaged`);
  for (const { path, problem } of bad) {
    context.print(`  ${join(paths.root, path)} ${problem ?? ''}`);
  }
}
