// A manifest that can't be read, made again from what the journal says of a model that was whole once. Only
// hashes are taken over; whether the files have them is for the check that follows.

import { createHash } from 'node:crypto';
import { FlashmoeError } from '../../base/errors.js';
import type { ModelPaths } from '../../base/paths.js';
import { contentSha256 } from '../../repack/verify.js';
import { manifestGguf, manifestUserFiles, smallFiles } from '../model-files.js';
import { readJournal } from '../journal.js';
import type { ModelManifest, OwnedFile } from '../manifest.js';
import { reduceJournal, type FileFact } from '../state.js';
import { readStoredPlan } from '../stored-plan.js';
import { recordTexts } from './record-texts.js';

/** Without receipt. Nothing is written. Throws ERR_MODEL_DAMAGED when journal and plan don't tell all of it. */
export async function manifestAgain(paths: ModelPaths): Promise<ModelManifest> {
  const [journal, stored] = [await readJournal(paths.journal), await readStoredPlan(paths.plan)];
  const lost = (what: string): FlashmoeError =>
    new FlashmoeError('ERR_MODEL_DAMAGED', `${paths.root}: manifest.json is damaged, and ${what}`, {
      hint: '`flashmoe setup` makes what is missing',
      subject: paths.manifest,
    });
  if (journal === null || stored === null) throw lost('journal or plan are missing');
  if (journal.header.plan !== stored.pack.fingerprint) throw lost('the plan is of another journal');
  // What was damaged once and not mended since still has its hash in the lines before.
  const intact = journal.entries.filter(({ step }) => step !== 'damaged');
  const state = reduceJournal(intact);
  const { pack, model, revision } = stored;
  const { layers, denseFile, copied, finished } = state;
  if (!finished || denseFile === null) throw lost('it was never whole');
  const facts = [...layers.values(), denseFile, ...copied.values()];
  if (facts.length !== pack.layers.length + 1 + smallFiles(stored).length)
    throw lost('it was never whole');
  const files = facts.map(({ file, bytes, sha256 }): OwnedFile => ({
    ...{ path: file, size: bytes, sha256 },
  }));
  const chains = new Map(facts.map(({ file, chain }: FileFact) => [file, chain]));
  const chainOf = (path: string): Promise<string[]> => Promise.resolve(chains.get(path) ?? []);
  const hasChains = [...layers.values(), denseFile].every(({ chain }) => chain !== undefined);
  for (const [path, text] of Object.entries(recordTexts(paths, stored, files, chainOf))) {
    if (path === 'blocks.json' && !hasChains) continue;
    const content = Buffer.from(await text());
    const sha256 = createHash('sha256').update(content).digest('hex');
    files.push({ path, size: content.length, sha256 });
  }
  files.sort((a, b) => (a.path < b.path ? -1 : 1));
  return {
    ...{ format: 'flashmoe-model', version: 1, model, repo: pack.repo, revision },
    ...{ commit: pack.commit, quant: pack.quant, fingerprint: pack.fingerprint, files },
    ...manifestGguf(stored),
    ...manifestUserFiles(stored),
    finalBytes: files.reduce((sum, { size }) => sum + size, 0),
    contentSha256: contentSha256(files.filter(({ path }) => path.endsWith('.bin'))),
    receipt: null,
  };
}
