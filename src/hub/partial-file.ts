// Bytes on their way: `<destination>.partial`, bound by `<destination>.partial.json` to one file of one
// commit. Only `promote` gives a file its final name, and only its caller knows that the hash was right.

import { constants } from 'node:fs';
import { lstat, open, readFile, rename, type FileHandle } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { makeDirectory, syncDirectory, writeFileAtomic } from '../base/atomic-file.js';
import { FlashmoeError } from '../base/errors.js';
import { formatBytes } from '../base/format.js';
import { finalName, removeOwned, type OwnedFolder } from '../base/owned-files.js';
import type { RepoFile, RepoListing } from './types.js';

const READ_BYTES = 1024 * 1024;

export class PartialFile {
  /** Bytes on disk. */
  size: number;
  readonly path: string;
  readonly #destination: string;
  readonly #handle: FileHandle;
  readonly #file: RepoFile;

  private constructor(destination: string, handle: FileHandle, file: RepoFile, size: number) {
    this.path = partialPath(destination);
    this.#destination = destination;
    this.#handle = handle;
    this.#file = file;
    this.size = size;
  }

  /**
   * Opens the partial of `file` at `destination`, empty unless an earlier run left one of the very same
   * repository, commit, path, size and hash. The caller makes sure that it is the only writer.
   */
  static async open(
    destination: string,
    listing: RepoListing,
    file: RepoFile,
  ): Promise<PartialFile> {
    const path = partialPath(destination);
    const binding = bindingOf(listing, file);
    try {
      await makeDirectory(dirname(destination));
      const isSame = (await readOrNull(sidecarPath(destination))) === binding;
      if (!isSame) {
        await removeOwned(ownedDownload(destination), path);
        await writeFileAtomic(sidecarPath(destination), binding);
      }
      // NOFOLLOW: a link planted at this name must not decide where the bytes go.
      const { O_RDWR, O_CREAT, O_NOFOLLOW } = constants;
      const handle = await open(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0o644);
      const { size } = await handle.stat();
      const partial = new PartialFile(destination, handle, file, size);
      if (size > file.size) await partial.clear();
      return partial;
    } catch (error) {
      throw diskFailure(error, file, 0);
    }
  }

  /** The bytes on disk, in order. */
  async *read(): AsyncGenerator<Buffer, void, void> {
    const buffer = Buffer.allocUnsafe(Math.min(READ_BYTES, Math.max(1, this.size)));
    for (let at = 0; at < this.size;) {
      const { bytesRead } = await this.#handle.read(buffer, 0, buffer.length, at);
      if (bytesRead === 0)
        throw new FlashmoeError('ERR_IO', `${this.path} shrank while it was read`);
      at += bytesRead;
      yield buffer.subarray(0, bytesRead);
    }
  }

  /** Appends all of `bytes`, or throws ERR_DISK_FULL or ERR_IO with what was there before still there. */
  async append(bytes: Buffer): Promise<void> {
    try {
      await writeFully(this.#handle, bytes, this.size);
    } catch (error) {
      throw diskFailure(error, this.#file, this.size);
    }
    this.size += bytes.length;
  }

  async clear(): Promise<void> {
    await this.#handle.truncate(0);
    this.size = 0;
  }

  /** Verified: to stable storage, then to its final name. Closes the file. */
  async promote(): Promise<void> {
    try {
      await this.#handle.sync();
      await this.#handle.close();
      await rename(this.path, this.#destination);
      await removeOwned(ownedDownload(this.#destination), sidecarPath(this.#destination));
      await syncDirectory(dirname(this.#destination));
    } catch (error) {
      throw diskFailure(error, this.#file, this.size);
    }
  }

  async close(): Promise<void> {
    await this.#handle.close().catch(() => undefined);
  }

  /** Closes and deletes it. */
  async discard(): Promise<void> {
    await this.close();
    await removeOwned(ownedDownload(this.#destination), this.path);
    await removeOwned(ownedDownload(this.#destination), sidecarPath(this.#destination));
  }
}

/** A file that is being fetched, and what stands beside it until it is whole. */
function ownedDownload(destination: string): OwnedFolder {
  const name = basename(destination);
  return { root: dirname(destination), owns: (path) => finalName(path) === name };
}

export function partialPath(destination: string): string {
  return `${destination}.partial`;
}

function sidecarPath(destination: string): string {
  return `${destination}.partial.json`;
}

/** Writes all of `bytes` at `position`: one write call may take fewer. Throws the system's error. */
export async function writeFully(
  handle: FileHandle,
  bytes: Buffer,
  position: number,
): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, position + done);
    done += bytesWritten;
  }
}

/** The size of the regular file at `path`, null when there is nothing; refuses a link or a folder. */
export async function regularFileSize(path: string): Promise<number | null> {
  const stats = await lstat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null;
    throw error;
  });
  if (stats === null) return null;
  if (!stats.isFile()) {
    throw new FlashmoeError(
      'ERR_IO',
      `${path} is in the way and is no regular file; it was left alone`,
      {
        hint: `move ${path} away`,
        subject: path,
      },
    );
  }
  return stats.size;
}

function bindingOf(
  { repo, commit }: RepoListing,
  { path, size, sha256, gitSha1 }: RepoFile,
): string {
  return `${JSON.stringify({ schema: 1, repo, commit, path, size, sha256, gitSha1 })}\n`;
}

async function readOrNull(path: string): Promise<string | null> {
  try {
    return await readFile(path, 'utf8');
  } catch {
    // Missing or unreadable: either way it can't vouch for a partial.
    return null;
  }
}

function diskFailure(error: unknown, file: RepoFile, kept: number): FlashmoeError {
  if (error instanceof FlashmoeError) return error;
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new FlashmoeError(
      'ERR_DISK_FULL',
      `${file.path}: the disk is full at ${formatBytes(kept)} of ${formatBytes(file.size)}`,
      {
        resumable: true,
        cause: error,
        subject: file.path,
        hint: `free at least ${formatBytes(file.size - kept)}, then run the command again`,
      },
    );
  }
  return new FlashmoeError('ERR_IO', `${file.path}: ${message}`, {
    cause: error,
    subject: file.path,
  });
}
