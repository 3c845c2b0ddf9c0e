// What another machine shares, asked for and judged before anything is written: nothing from there becomes a
// path, a size or a plan here unless manifest, plan and block hashes agree with each other.

import { FlashmoeError } from '../base/errors.js';
import { expertsFolder, modelPathsAt, PACKED_NAME } from '../base/paths.js';
import { HubClient, type HubClientOptions } from '../hub/client.js';
import { SHARED_REPO } from '../hub/share-server.js';
import type { HubSettings, HubTask, HubToken, RepoListing } from '../hub/types.js';
import { parseManifest, type ModelManifest } from '../store/manifest.js';
import { finalFiles, smallFiles, userFiles } from '../store/model-files.js';
import { chainsIn } from '../store/repair/chains.js';
import { parseStoredPlan, type StoredPlan } from '../store/stored-plan.js';

export const SHARE_KEY = 'FLASHMOE_SHARE_KEY';
const MOST_BYTES = 64 << 20;
const SHARD_FILE = /^[A-Za-z0-9_][A-Za-z0-9._-]*$/;

export interface ShareAddress {
  /** Without a trailing slash. */
  url: string;
  key: string | null;
}

export interface Offer {
  url: string;
  /** The files of the manifest, for the client that asked. */
  listing: RepoListing;
  manifest: ModelManifest;
  stored: StoredPlan;
  /** By path, of every packed file. */
  chains: ReadonlyMap<string, readonly string[]>;
}

/** A client that talks to a share and to nobody else. */
export function shareClient(
  settings: HubSettings,
  { url, key }: ShareAddress,
  options: HubClientOptions = {},
): HubClient {
  const token =
    key === null
      ? null
      : Object.defineProperty({ source: SHARE_KEY } as HubToken, 'value', {
          value: key,
          enumerable: false,
        });
  return new HubClient({ ...settings, endpoint: url, token, offline: false, proxy: null }, options);
}

/** Throws ERR_AUTH without the right key, ERR_REMOTE_CONTENT for an offer that doesn't add up. */
export async function askOffer(client: HubClient, url: string, task: HubTask): Promise<Offer> {
  const listed = await client.list(SHARED_REPO, 'main', task).catch((error: unknown) => {
    throw inWordsOfShares(error, url);
  });
  const text = async (path: string): Promise<string> =>
    (await client.readSmall(listed, path, MOST_BYTES, task)).toString('utf8');
  try {
    const manifest = parseManifest(await text('manifest.json'));
    const files = manifest.files.map((file) => ({ ...file, gitSha1: null }));
    const listing = { ...listed, files };
    const stored = parseStoredPlan(await text('plan.json'));
    if (stored === null || !fits(stored, manifest)) throw disagreement(url, 'plan.json');
    const blocks = (await client.readSmall(listing, 'blocks.json', MOST_BYTES, task)).toString();
    const chains = chainsIn(blocks, manifest);
    const packed = manifest.files.filter(({ path }) => path.endsWith('.bin'));
    if (!packed.every(({ path }) => chains.has(path))) throw disagreement(url, 'blocks.json');
    return { url, listing, manifest, stored, chains };
  } catch (error) {
    if (error instanceof FlashmoeError) throw error;
    throw disagreement(url, 'manifest.json', error);
  }
}

function fits(stored: StoredPlan, manifest: ModelManifest): boolean {
  const { model, revision, pack } = stored;
  const sizes = new Map(manifest.files.map(({ path, size }) => [path, size]));
  // Names alone are asked for, so any root will do.
  const paths = modelPathsAt('/');
  const same =
    pack.fingerprint === manifest.fingerprint &&
    pack.repo === manifest.repo &&
    pack.commit === manifest.commit &&
    pack.quant === manifest.quant &&
    model === manifest.model &&
    revision === manifest.revision;
  const sized = [
    { path: pack.dense.file, size: pack.dense.size },
    ...smallFiles(stored),
    ...pack.layers.map(({ file, size }) => ({
      path: `${expertsFolder(pack.quant)}/${file}`,
      size,
    })),
  ];
  return (
    same &&
    pack.dense.file === 'model_weights.bin' &&
    userFiles(stored).every(
      ({ path, sha256 }) => manifest.files.find((file) => file.path === path)?.sha256 === sha256,
    ) &&
    pack.layers.every(({ file }) => PACKED_NAME.test(file)) &&
    pack.shards.every(({ path }) => SHARD_FILE.test(path)) &&
    sized.every(({ path, size }) => sizes.get(path) === size) &&
    finalFiles(paths, stored).join('\n') === [...sizes.keys()].sort().join('\n')
  );
}

function disagreement(url: string, file: string, cause?: unknown): FlashmoeError {
  return new FlashmoeError(
    'ERR_REMOTE_CONTENT',
    `${url}: its ${file} is none that this version reads, or does not fit the rest; nothing was written`,
    { cause, hint: 'use the same version of flashmoe on both machines', subject: file },
  );
}

function inWordsOfShares(error: unknown, url: string): unknown {
  if (!(error instanceof FlashmoeError)) return error;
  if (error.code === 'ERR_AUTH') {
    return new FlashmoeError('ERR_AUTH', `${url} wants the key that \`flashmoe share\` printed`, {
      cause: error,
      hint: `set ${SHARE_KEY} to it; it is never part of the address`,
      subject: SHARE_KEY,
    });
  }
  if (error.code !== 'ERR_NOT_FOUND') return error;
  return new FlashmoeError('ERR_NOT_FOUND', `${url} is no \`flashmoe share\``, {
    cause: error,
    hint: 'name the address that `flashmoe share` printed on the other machine',
    subject: url,
  });
}
