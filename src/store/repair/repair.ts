// Puts damaged files of a finished model right: of a packed file only the bad blocks are made anew, in place,
// from the source ranges of exactly those; small files are fetched or written whole. The journal says
// `damaged` before the first byte changes and names the file again only when its hash is right, so that a crash
// in between leaves a model that is known to be damaged, and a repair that can simply be repeated.

import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { mkdir, open, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { runJob } from '../../addon/load.js';
import type { NativeAddon } from '../../addon/types.js';
import { syncDirectory, writeFileAtomic } from '../../base/atomic-file.js';
import { asFlashmoeError, FlashmoeError } from '../../base/errors.js';
import { acquireLock } from '../../base/file-lock.js';
import type { ModelPaths } from '../../base/paths.js';
import type { HubClient } from '../../hub/client.js';
import type { HubTask, RepoListing } from '../../hub/types.js';
import { CALIBRATION_FILE } from '../../repack/calibration.js';
import {
  BLOCK_BYTES,
  densePieces,
  layerPieces,
  sourcesOf,
  type BlockPiece,
} from '../../repack/blocks.js';
import type { VerifiedFile } from '../../repack/verify.js';
import { fileSize } from '../disk-sizes.js';
import { openJournal, readJournal, type Journal, type JournalEntry } from '../journal.js';
import type { ModelManifest } from '../manifest.js';
import { removeEmptyFolder, removeOwned } from '../../base/owned-files.js';
import { ownedModel } from '../ownership.js';
import { layerPath, userFiles } from '../model-files.js';
import { hashFile } from '../../base/hash-file.js';
import { listingOf, type StoredPlan, type UserFile } from '../stored-plan.js';
import { makeBlock } from './block.js';
import { blockCount, trustedChains } from './chains.js';
import { madeFiles } from '../made-files.js';
import { recordTexts } from './record-texts.js';

export interface RepairTask extends HubTask {
  paths: ModelPaths;
  manifest: ModelManifest;
  /** What the model was made by: its fingerprint is the manifest's. */
  stored: StoredPlan;
  addon: NativeAddon;
  client: HubClient;
  threads: number;
}

export interface RepairedFile {
  path: string;
  /** Blocks that were made anew; null for a file that was made whole. */
  blocks: number[] | null;
  fetchedBytes: number;
}

/**
 * Repairs `damaged`, findings of checkModel, in their order. Throws ERR_LOCKED during a setup, ERR_HASH when
 * what was fetched twice still doesn't give the hash, and what the hub throws; files done until then are right.
 * The files come back packed ones first.
 */
export async function repairFiles(
  damaged: readonly VerifiedFile[],
  task: RepairTask,
): Promise<RepairedFile[]> {
  const { paths } = task;
  const lock = await acquireLock(paths.lock);
  let journal: Journal | null = null;
  try {
    const found = await readJournal(paths.journal);
    journal = found && (await openJournal(paths.journal, found.header));
    const repair = new Repair(task, await trustedChains(paths, task.manifest), journal);
    const repaired: RepairedFile[] = [];
    // Records last: the block hashes are read off files that are right.
    for (const file of [...damaged].sort((a, b) => rank(a) - rank(b))) {
      repaired.push(await repair.one(file));
    }
    return repaired;
  } finally {
    await journal?.close();
    for (const name of ['repair.source', 'repair.target']) {
      await removeOwned(ownedModel(paths, {}), join(paths.download, name));
    }
    // A setup that is not over may have its own scratch there.
    await removeEmptyFolder(paths.download).catch(() => undefined);
    await lock.release();
  }
}

class Repair {
  readonly #task: RepairTask;
  readonly #chains: ReadonlyMap<string, string[]>;
  readonly #journal: Journal | null;
  readonly #listing: RepoListing;

  constructor(task: RepairTask, chains: ReadonlyMap<string, string[]>, journal: Journal | null) {
    this.#task = task;
    this.#chains = chains;
    this.#journal = journal;
    this.#listing = listingOf(task.stored);
  }

  async one(file: VerifiedFile): Promise<RepairedFile> {
    const { stored, paths } = this.#task;
    await this.#note({ step: 'damaged', file: file.path });
    const own = userFiles(stored).find(({ path }) => path === file.path);
    if (own !== undefined) throw notOurs(own);
    if (stored.sideFiles.some(({ path }) => path === file.path)) return await this.#sideFile(file);
    const { dense, layers, quant } = stored.pack;
    const { path, size: bytes, sha256 } = file;
    const chain = this.#chains.get(path);
    const fact = { file: path, bytes, sha256, ...(chain === undefined ? {} : { chain }) };
    if (path === dense.file) {
      const pieces = (start: number, end: number) => densePieces(stored.pack, start, end);
      const repaired = await this.#packed(file, pieces);
      await this.#note({ step: 'dense-finished', ...fact });
      return repaired;
    }
    const layer = layers.find((each) => layerPath(paths, quant, each) === path);
    if (layer === undefined) return await this.#record(file);
    const pieces = (start: number, end: number) => layerPieces(stored.pack, layer, start, end);
    const repaired = await this.#packed(file, pieces);
    await this.#note({ step: 'packed', layer: layer.layer, ...fact });
    return repaired;
  }

  async #packed(
    file: VerifiedFile,
    piecesOf: (start: number, end: number) => BlockPiece[],
  ): Promise<RepairedFile> {
    const path = join(this.#task.paths.root, file.path);
    await mkdir(dirname(path), { recursive: true });
    const flags = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW;
    const handle = await open(path, flags).catch(rethrow);
    const made = new Set<number>();
    let fetchedBytes = 0;
    try {
      const isLong = (await handle.stat()).size === file.size;
      // What is beyond the right length goes, what is missing becomes blocks of zeros, which are bad blocks.
      if (!isLong) await handle.truncate(file.size);
      let bad = isLong && file.blocks !== null ? file.blocks : await this.#badBlocks(path, file);
      for (let time = 1; bad.length > 0; time += 1) {
        if (time > 2) throw wrongTwice(file, bad);
        for (const block of bad) {
          const [start, end] = [
            block * BLOCK_BYTES,
            Math.min(file.size, (block + 1) * BLOCK_BYTES),
          ];
          const pieces = piecesOf(start, end);
          if (time > 1) this.#forget(pieces);
          const { bytes, fetchedBytes: fetched } = await makeBlock(pieces, start, end, {
            ...this.#task,
            listing: this.#listing,
            scratch: this.#task.paths.download,
            calibration: join(this.#task.paths.root, CALIBRATION_FILE),
          });
          fetchedBytes += fetched;
          await handle.write(bytes, 0, bytes.length, start);
          made.add(block);
        }
        await handle.sync();
        bad = await this.#badBlocks(path, file);
      }
    } catch (error) {
      return rethrow(error);
    } finally {
      await handle.close();
    }
    await syncDirectory(dirname(path));
    return { path: file.path, blocks: [...made].sort((a, b) => a - b), fetchedBytes };
  }

  /** By the chain; without one all blocks of a file whose hash is not right. */
  async #badBlocks(path: string, { path: name, size, sha256 }: VerifiedFile): Promise<number[]> {
    const { addon, signal } = this.#task;
    const chain = this.#chains.get(name);
    if (chain !== undefined)
      return (await runJob(addon.checkBlocks(path, chain, ignore), signal)).bad;
    const found = await runJob(addon.hashFile(path, ignore), signal);
    return found.sha256 === sha256 ? [] : Array.from({ length: blockCount(size) }, (_, i) => i);
  }

  /** The next try comes over fresh connections. */
  #forget(pieces: readonly BlockPiece[]): void {
    for (const { shard } of sourcesOf(pieces)) {
      this.#task.client.source(this.#listing, shard).forget();
    }
  }

  async #sideFile(file: VerifiedFile): Promise<RepairedFile> {
    const { client, paths, stored } = this.#task;
    const scratch = join(paths.download, file.path);
    await mkdir(paths.download, { recursive: true });
    const made = await madeFiles(client, stored, this.#task);
    if (made !== null) await writeFileAtomic(scratch, made[file.path] ?? '');
    const { fetchedBytes } =
      made === null
        ? await client.download(this.#listing, file.path, scratch, this.#task)
        : { fetchedBytes: 0 };
    const sha256 = await hashFile(scratch);
    if (sha256 !== file.sha256) throw otherFile(file, sha256);
    await rename(scratch, join(paths.root, file.path)).catch(rethrow);
    await syncDirectory(paths.root);
    await this.#note({ step: 'copied', file: file.path, bytes: file.size, sha256 });
    return { path: file.path, blocks: null, fetchedBytes };
  }

  /** A manifest or the block hashes: written from the plan and the hashes that are known. */
  async #record(file: VerifiedFile): Promise<RepairedFile> {
    const { paths, manifest, stored, addon, signal } = this.#task;
    const absolute = join(paths.root, file.path);
    const chainOf = async (path: string): Promise<string[]> =>
      (await runJob(addon.hashFile(join(paths.root, path), ignore), signal)).chain;
    const text = await recordTexts(paths, stored, manifest.files, chainOf)[file.path]?.();
    if (text === undefined) throw unknownFile(file);
    const sha256 = createHash('sha256').update(text).digest('hex');
    if (sha256 !== file.sha256) throw otherFile(file, sha256);
    await writeFileAtomic(absolute, text);
    if ((await fileSize(absolute)) !== file.size) throw otherFile(file, sha256);
    return { path: file.path, blocks: null, fetchedBytes: 0 };
  }

  async #note(entry: JournalEntry): Promise<void> {
    await this.#journal?.append(entry);
  }
}

/** What blocks are made of comes before them. */
const rank = ({ path }: VerifiedFile): number =>
  path === CALIBRATION_FILE ? 0 : path.endsWith('.bin') ? 1 : 2;

const ignore = (): void => undefined;

function wrongTwice({ path, sha256 }: VerifiedFile, bad: readonly number[]): FlashmoeError {
  return new FlashmoeError(
    'ERR_HASH',
    `${path}: made anew twice from the hub's bytes, block ${bad.join(', ')} still doesn't lead to sha256 ${sha256}; it is marked as damaged`,
    { subject: path, hint: '`flashmoe setup` makes the file anew from whole, hashed shards' },
  );
}

function otherFile({ path, sha256 }: VerifiedFile, made: string): FlashmoeError {
  return new FlashmoeError(
    'ERR_HASH',
    `${path}: made anew its sha256 is ${made}, where manifest.json says ${sha256}; it was left as it is`,
    { subject: path, hint: '`flashmoe setup` writes it and the manifest anew' },
  );
}

function notOurs({ path, sha256, option }: UserFile): FlashmoeError {
  return new FlashmoeError(
    'ERR_HASH',
    `${path} is damaged, and the hub has none; nothing else was mended`,
    {
      hint: `\`flashmoe setup\` with ${option} and the file with sha256 ${sha256} puts it back`,
      subject: path,
    },
  );
}

function unknownFile({ path }: VerifiedFile): FlashmoeError {
  return new FlashmoeError('ERR_PLAN', `${path} is not in the plan that the model was made by`, {
    subject: path,
    hint: '`flashmoe setup` makes what is missing',
  });
}

function rethrow(error: unknown): never {
  throw asFlashmoeError(error);
}
