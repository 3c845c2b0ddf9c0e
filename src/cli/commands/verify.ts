// flashmoe verify [MODEL] [--repair]: reads every file again and compares hashes; makes bad blocks anew if asked. A model that
// is whole and that nobody has judged, or that failed, is asked as at the end of a setup.

import { lstat } from 'node:fs/promises';
import { join } from 'node:path';
import type { NativeAddon } from '../../addon/types.js';
import { EXIT, FlashmoeError } from '../../base/errors.js';
import { formatBytes, formatBytesBoth } from '../../base/format.js';
import type { ModelManifest } from '../../store/manifest.js';
import { recordDamage } from '../../store/damage.js';
import { checkModel, type CheckedModel } from '../../store/repair/check.js';
import { manifestAgain } from '../../store/repair/manifest-again.js';
import type { RepairedFile } from '../../store/repair/repair.js';
import { readManifest } from '../../store/manifest.js';
import { modelState } from '../../store/model-state.js';
import type { CheckReport } from '../../store/receipt.js';
import type { VerifiedFile } from '../../repack/verify.js';
import { percent } from '../../ui/bar.js';
import type { HubEvent } from '../../hub/types.js';
import { clockWithSeconds } from '../../base/clock.js';
import type { CliContext } from '../context.js';
import { listInstallations } from '../../application/installations.js';
import type { Installation } from '../../application/read-installation.js';
import { isAway } from '../../application/installed.js';
import { choose, isReady } from '../../application/ready-models.js';
import { nativeAddon } from '../../application/native.js';
import { judgeInstalled } from '../../application/judge-installed.js';
import { repairModel, type Checked } from '../../application/repair.js';
import { readSettings } from '../../settings/file.js';

export interface VerifyArgs {
  model: string | null;
  repair: boolean;
}

interface Result {
  id: string;
  ok: boolean;
  files: VerifiedFile[];
  blocksAdded: boolean;
  /** Of them, those that the user named. */
  userFiles: NonNullable<ModelManifest['userFiles']>;
  repaired?: RepairedFile[];
  /** Of a model that was asked. */
  check?: CheckReport;
}

const PROGRESS_MS = 60_000;

/** Exit status 1 when a file differs and was not repaired. All models when none is named. */
export async function verify(context: CliContext, args: VerifyArgs): Promise<number> {
  const models = await modelsToCheck(context, args.model);
  const addon = nativeAddon(context);
  const results: Result[] = [];
  for (const model of models) {
    const result = await judgeOne(
      context,
      model,
      await verifyOne(context, addon, model, args.repair),
    );
    if (!context.json) tell(context, model, result);
    results.push(result);
  }
  const bad = results.find(({ ok }) => !ok);
  if (context.json) context.emit('verified', { ok: bad === undefined, models: results });
  else if (bad !== undefined && bad.check === undefined) {
    context.note(
      args.repair
        ? `\nhint: \`flashmoe setup ${bad.id}\` makes what is damaged anew`
        : `\nhint: \`flashmoe verify ${bad.id} --repair\` fetches what is damaged and nothing else`,
    );
  }
  return bad === undefined ? EXIT.done : EXIT.failed;
}

/** Wrong bytes are never asked: the answer would only repeat what is known. */
async function judgeOne(context: CliContext, model: Checked, result: Result): Promise<Result> {
  if (!result.ok) return result;
  const { id, paths } = model;
  const manifest = await readManifest(paths.manifest);
  if (manifest === null) return result;
  const { state } = modelState({ id, manifest, owner: null, plan: null, problem: null });
  if (state === 'ready') return result;
  const { report } = await judgeInstalled(context, { id, paths, manifest }, context.signal);
  return { ...result, ok: report.verdict !== 'failed', check: report };
}

async function verifyOne(
  context: CliContext,
  addon: NativeAddon,
  model: Checked,
  repair: boolean,
): Promise<Result> {
  const { id, paths, manifest, manifestLost } = model;
  const about = { id, userFiles: manifest.userFiles ?? [] };
  const first = await check(context, addon, model);
  const bad = first.files.filter(({ problem }) => problem !== null);
  // Their sizes may be right: without this note the next setup would take them for whole.
  if (bad.length > 0)
    await recordDamage(
      paths,
      bad.map(({ path }) => path),
    );
  if (manifestLost) first.files.push(await lostManifest(paths.manifest));
  const isWhole = bad.length === 0 && !manifestLost;
  if (isWhole || !repair) return { ...about, ok: isWhole, ...first };
  if (!context.json) tell(context, model, { ...about, ok: false, ...first });
  const repaired = await repairModel(context, addon, model, bad, (event) =>
    tellWait(context, event),
  );
  const second = await check(context, addon, { ...model, manifest });
  return {
    ...about,
    ok: second.files.every(({ problem }) => problem === null),
    ...second,
    repaired,
  };
}

/** Those with a manifest, and those whose manifest can be made again from their journal. */
async function modelsToCheck(context: CliContext, name: string | null): Promise<Checked[]> {
  const found: Checked[] = [];
  const rest: FlashmoeError[] = [];
  const all = await listInstallations(context.home);
  const ready = all.filter(isReady);
  const isMeant = ({ id }: Installation): boolean => name === null || id === name.toLowerCase();
  for (const installation of all.filter(isMeant)) {
    const { id, paths, manifest, problem, away } = installation;
    // Not gone, and not to be fetched again.
    if (away !== null) rest.push(isAway(installation));
    else if (manifest !== null) found.push({ id, paths, manifest, manifestLost: false });
    else if (problem !== null && (await isThere(paths.manifest))) {
      try {
        found.push({ id, paths, manifest: await manifestAgain(paths), manifestLost: true });
      } catch (error) {
        if (!(error instanceof FlashmoeError)) throw error;
        rest.push(error);
      }
    }
  }
  const [lost] = rest;
  if (lost !== undefined && (found.length === 0 || name !== null)) throw lost;
  if (lost !== undefined) context.note(lost.message);
  if (found.length > 0) return found;
  if (name !== null || ready.length > 0) {
    const { id, paths, manifest } = choose(ready, name, await readSettings(context.home.settings));
    return [{ id, paths, manifest, manifestLost: false }];
  }
  throw new FlashmoeError('ERR_MODEL_MISSING', 'no model is set up here yet', {
    hint: 'flashmoe setup',
  });
}

async function isThere(path: string): Promise<boolean> {
  return (await lstat(path).catch(() => null)) !== null;
}

async function lostManifest(path: string): Promise<VerifiedFile> {
  const { size } = await lstat(path);
  const problem = 'is no manifest any more';
  return { path: 'manifest.json', size, sha256: '0'.repeat(64), problem, blocks: null };
}

function check(
  context: CliContext,
  addon: NativeAddon,
  { paths, manifest }: Checked,
): Promise<CheckedModel> {
  let toldAt = context.host.monotonic();
  return checkModel(paths, manifest, {
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
}

function tell(context: CliContext, { paths }: Checked, result: Result): void {
  const { style } = context;
  const { id, files, userFiles, repaired, blocksAdded } = result;
  const bad = files.filter(({ problem }) => problem !== null);
  const bytes = files.reduce((sum, { size }) => sum + size, 0);
  const all = `${files.length} files, ${formatBytesBoth(bytes)}`;
  for (const { path, blocks, fetchedBytes } of repaired ?? []) {
    const what = blocks === null ? 'made anew' : `block ${blocks.join(', ')} made anew`;
    context.print(`  ${join(paths.root, path)} ${what}, ${formatBytes(fetchedBytes)} fetched`);
  }
  if (bad.length === 0) {
    context.print(`${style.good(style.glyph.ok)} ${id}: ${all}, every hash is right`);
    for (const { path, sha256, option } of userFiles) {
      context.print(`  ${path} is yours (${option}), sha256 ${sha256}`);
    }
    if (blocksAdded) context.print(`  ${paths.blocks} written: it names blocks from now on`);
    if (result.check !== undefined) tellCheck(context, id, result.check);
    return;
  }
  context.print(`${style.bad(style.glyph.fail)} ${id}: ${bad.length} of ${all} are damaged`);
  for (const { path, problem } of bad) {
    context.print(`  ${join(paths.root, path)} ${problem ?? ''}`);
  }
}

function tellCheck(context: CliContext, id: string, check: CheckReport): void {
  const { style } = context;
  const { verdict, answers, reasons, notJudged } = check;
  const right = answers.filter(({ ok }) => ok).length;
  const mark = verdict === 'failed' ? style.bad(style.glyph.fail) : style.good(style.glyph.ok);
  context.print(`${mark} ${id}: ${right} of ${answers.length} answers right, ${verdict}`);
  for (const reason of [...reasons, ...notJudged.map((what) => `not judged: ${what}`)]) {
    context.print(`  ${reason}`);
  }
}

function tellWait(context: CliContext, event: HubEvent): void {
  if (event.type !== 'retry' && event.type !== 'notice') return;
  if (context.json) {
    const { type, ...fields } = event;
    context.emit(type, fields);
    return;
  }
  const clock = clockWithSeconds(context.host.now());
  if (event.type === 'notice') return context.note(`${clock} ${event.message}`);
  const seconds = (event.delayMs / 1000).toFixed(0);
  context.note(`${clock} ${event.file}: ${event.reason}; next try in ${seconds} s`);
}
