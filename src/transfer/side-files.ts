// Tokenizer, template and config files: fetched into the scratch folder, verified by the hub's hash, then
// moved to their final names. A few megabytes, so they come first and fail early.

import { constants, createReadStream } from 'node:fs';
import { open, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { makeDirectory, syncDirectory, withPath, writeFileAtomic } from '../base/atomic-file.js';
import type { RepoFile } from '../hub/types.js';
import { FlashmoeError } from '../base/errors.js';
import { hashFile } from '../base/hash-file.js';
import { fileSize } from '../store/disk-sizes.js';
import { hubSideFiles, userFiles } from '../store/model-files.js';
import { madeFiles, textHash } from '../store/made-files.js';
import type { UserFile } from '../store/stored-plan.js';
import type { FileFact } from '../store/state.js';
import type { TransferTask } from './transfer-task.js';
import { forwardHubEvent, hubTask } from './hub-events.js';

/** Where files of the user's own come from. */
interface UserSources {
  /** Another machine shares the model with them. */
  isShared: boolean;
  /** Else the files that the request names, by their names in the model's folder. */
  paths: ReadonlyMap<string, string>;
}

/** Returns the bytes received in this run. */
export async function fetchSideFiles(
  task: TransferTask,
  sources: UserSources,
): Promise<{ downloadedBytes: number }> {
  const { plan, paths } = task;
  const { stored, state } = plan;
  const fromHub = hubSideFiles(stored).filter(({ path }) => !state.copied.has(path));
  // One that took the place of another has the name of what is there.
  const fromUser = userFiles(stored).filter(
    ({ path, sha256 }) => state.copied.get(path)?.sha256 !== sha256,
  );
  if (fromHub.length + fromUser.length === 0) return { downloadedBytes: 0 };
  await makeDirectory(paths.download);
  let downloadedBytes = 0;
  const made = sources.isShared ? null : await madeFiles(task.client, stored, hubTask(task));
  for (const file of sources.isShared ? [...fromHub, ...fromUser] : fromHub) {
    if (made === null) downloadedBytes += await fetchOne(task, file);
    else await writeMade(task, file, made[file.path] ?? '');
  }
  for (const file of sources.isShared ? [] : fromUser) {
    await copyUserFile(task, file, sources.paths.get(file.path) ?? null);
  }
  return { downloadedBytes };
}

async function writeMade(
  task: TransferTask,
  { path: file, size }: Pick<RepoFile, 'path' | 'size'>,
  text: string,
): Promise<void> {
  const { paths, signal, budget } = task;
  const need = (): Promise<number> => Promise.resolve(size);
  await budget.patiently(file, need, signal, () =>
    writeFileAtomic(join(paths.download, file), text),
  );
  await keep(task, { file, bytes: size, sha256: textHash(text) });
}

async function copyUserFile(
  task: TransferTask,
  { path: file, size, sha256, option }: UserFile,
  from: string | null,
): Promise<void> {
  const { paths, signal, budget } = task;
  if (from === null) {
    const what = 'this setup began with a file of yours that is not here yet';
    throw new FlashmoeError('ERR_USAGE', `${what}: ${file}`, {
      hint: `name it once more with ${option}`,
      subject: option,
    });
  }
  const scratch = join(paths.download, file);
  const need = (): Promise<number> => Promise.resolve(size);
  await budget.patiently(file, need, signal, async () => {
    // Not as copyFile does it: the mode of the user's file is none of ours.
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_NOFOLLOW;
    const copy = await open(scratch, flags, 0o644);
    try {
      for await (const chunk of createReadStream(from)) await copy.writeFile(chunk as Buffer);
      await copy.sync();
    } catch (error) {
      throw withPath(error, scratch);
    } finally {
      await copy.close();
    }
  });
  if ((await hashFile(scratch)) !== sha256) {
    throw new FlashmoeError('ERR_HASH', `${from} has changed since the plan was made`, {
      hint: 'run the command again',
      subject: option,
    });
  }
  await keep(task, { file, bytes: size, sha256 });
}

async function fetchOne(
  task: TransferTask,
  { path: file, size }: Pick<RepoFile, 'path' | 'size'>,
): Promise<number> {
  const { client, listing, paths, emit, signal, budget } = task;
  const scratch = join(paths.download, file);
  const to = {
    signal,
    emit: (event: Parameters<typeof forwardHubEvent>[0]) => {
      forwardHubEvent(event, emit);
    },
  };
  const need = (): Promise<number> => Promise.resolve(size);
  const { fetchedBytes } = await budget.patiently(file, need, signal, () =>
    client.download(listing, file, scratch, to),
  );
  await keep(task, { file, bytes: size, sha256: await hashFile(scratch) });
  return fetchedBytes;
}

/** Gives a verified file of the scratch folder its name, and writes it down. */
async function keep(task: TransferTask, fact: FileFact): Promise<void> {
  const { paths, signal, budget, journal } = task;
  const { file, bytes } = fact;
  const scratch = join(paths.download, file);
  const need = (): Promise<number> => Promise.resolve(bytes);
  await budget.patiently(file, need, signal, async () => {
    if ((await fileSize(scratch)) !== null) await rename(scratch, join(paths.root, file));
    await syncDirectory(paths.root);
  });
  await budget.patiently('the journal', need, signal, () =>
    journal.append({ step: 'copied', ...fact }),
  );
}
