// --from: what it names, before anything else is asked. A folder may say by itself which repository it is.

import { stat } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, resolve } from 'node:path';
import { FlashmoeError } from '../base/errors.js';
import { locateCheckpoint } from '../hub/checkpoint-folder.js';
import { askOffer, SHARE_KEY, shareClient, type ShareAddress } from '../share/offer.js';
import { modelIdForRepo } from '../models/catalog.js';
import { LOCAL_OWNER } from '../transfer/folder-source.js';
import type { AppContext } from './context.js';
import { environment } from './setup-request.js';
import type { CheckpointOptions } from '../settings/setup-options.js';
import { DEFAULT_REVISION, targetOf } from './target.js';

/** The same words with a repository named and the folder's path made absolute. Throws ERR_USAGE. */
export async function withSource<Words extends CheckpointOptions>(
  context: AppContext,
  words: Words,
): Promise<Words> {
  if (words.from === null) return words;
  const share = shareOf(words.from, context.host.env);
  if (share !== null) return await withShared(context, words, share);
  const { host } = context;
  const home = words.from.replace(/^~(?=\/|$)/, host.homeDirectory);
  const path = isAbsolute(home) ? home : resolve(home);
  const { from, file } = await folderOf(path, words.file);
  const repo = targetOf(words)?.repo ?? null;
  const at = await locateCheckpoint(from, repo, words.revision ?? DEFAULT_REVISION);
  if (repo === null) return { ...words, from, file, repo: at.repo ?? localRepo(at.folder) };
  if (at.repo !== null && at.repo.toLowerCase() !== repo.toLowerCase()) {
    throw new FlashmoeError('ERR_USAGE', `${from} is of ${at.repo}, not of ${repo}`, {
      hint: `leave ${words.model ?? '--repo'} away, or name the folder of that repository`,
      subject: '--from',
    });
  }
  return { ...words, from, file };
}

/** A GGUF file stands for itself in its folder. */
async function folderOf(
  path: string,
  file: string | null,
): Promise<{ from: string; file: string | null }> {
  const isFile = (await stat(path).catch(() => null))?.isFile() === true;
  if (!isFile || !/\.gguf$/i.test(path)) return { from: path, file };
  if (file === null) return { from: dirname(path), file: basename(path) };
  throw new FlashmoeError('ERR_USAGE', `${path} is a file already, and --file chooses one`, {
    hint: 'leave --file away, or name the folder with --from',
    subject: '--file',
  });
}

/** What is shared is one model at its widths; words that ask for another are refused. */
async function withShared<Words extends CheckpointOptions>(
  context: AppContext,
  words: Words,
  share: ShareAddress,
): Promise<Words> {
  const { hub } = await environment(context);
  const client = shareClient(hub, share);
  try {
    const task = { signal: context.signal, emit: () => undefined };
    const { manifest } = await askOffer(client, share.url, task);
    const { model, repo, revision, quant } = manifest;
    const asked = targetOf(words)?.model ?? model;
    const widths = words.quant ?? quant;
    if (
      asked !== model ||
      widths !== quant ||
      modelIdForRepo(repo, manifest.file ?? null) !== model
    ) {
      throw new FlashmoeError(
        'ERR_USAGE',
        `${share.url} shares ${model} at ${quant}, not ${asked} at ${widths}`,
        { hint: `leave model and --quant away`, subject: '--from' },
      );
    }
    const file = manifest.file ?? null;
    return { ...words, from: share.url, model: null, repo, revision, file, quant, size: null };
  } finally {
    client.close();
  }
}

/** null for a folder. The key comes from the environment only: arguments can be read by others. Throws ERR_USAGE. */
export function shareOf(text: string | null, env: AppContext['host']['env']): ShareAddress | null {
  if (text === null || !/^https?:\/\//i.test(text)) return null;
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || url.username !== '' || url.password !== '' || url.search !== '') {
    throw new FlashmoeError('ERR_USAGE', `${url?.origin ?? text} is no plain address of a share`, {
      hint: `http://host:port, and the key in ${SHARE_KEY}`,
      subject: '--from',
    });
  }
  return { url: url.href.replace(/\/+$/, ''), key: env[SHARE_KEY] || null };
}

/** A name for what no repository is known of. */
function localRepo(folder: string): string {
  const safe = basename(folder)
    .replace(/[^A-Za-z0-9._-]+/g, '-')
    .replace(/([._-])[._-]+/g, '$1')
    .replace(/^[._-]+|[._-]+$/g, '')
    .slice(0, 90);
  return join(LOCAL_OWNER, safe === '' ? 'checkpoint' : safe);
}
