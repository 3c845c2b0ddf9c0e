// One file to another volume, hashed on the way. What was copied before a crash is read back into the hash and
// gone on from; the final name is given when everything is on the disk.

import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { open, rename, type FileHandle } from 'node:fs/promises';
import { PARTIAL_SUFFIX } from '../../base/atomic-file.js';

const PIECE_BYTES = 4 << 20;

export interface CopyTask {
  signal: AbortSignal;
  /** Bytes of this file that are at the target. */
  onProgress: (done: number) => void;
}

/** sha256 in hex of what the source gave. The caller syncs the folder. Links are refused at both ends. */
export async function copyFile(
  source: string,
  target: string,
  { signal, onProgress }: CopyTask,
): Promise<{ sha256: string; bytes: number }> {
  const partial = target + PARTIAL_SUFFIX;
  const from = await open(source, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    const flags = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW;
    const to = await open(partial, flags, 0o644);
    try {
      const hash = createHash('sha256');
      const update = (piece: Buffer): unknown => hash.update(piece);
      const { size } = await from.stat();
      // Whole pieces only: the last one may be torn.
      const kept = Math.floor(Math.min((await to.stat()).size, size) / PIECE_BYTES) * PIECE_BYTES;
      await to.truncate(kept);
      await eachPiece(to, 0, kept, signal, (piece, at) => {
        update(piece);
        onProgress(at);
      });
      await eachPiece(from, kept, size, signal, async (piece, at) => {
        const written = to.write(piece, 0, piece.length, at - piece.length);
        update(piece);
        await written;
        onProgress(at);
      });
      await to.sync();
      await rename(partial, target);
      return { sha256: hash.digest('hex'), bytes: size };
    } finally {
      await to.close();
    }
  } finally {
    await from.close();
  }
}

/** `use` gets each piece and the position behind it. */
async function eachPiece(
  file: FileHandle,
  start: number,
  end: number,
  signal: AbortSignal,
  use: (piece: Buffer, at: number) => void | Promise<void>,
): Promise<void> {
  const buffer = Buffer.allocUnsafe(Math.min(PIECE_BYTES, Math.max(1, end - start)));
  for (let at = start; at < end;) {
    signal.throwIfAborted();
    const { bytesRead } = await file.read(buffer, 0, Math.min(buffer.length, end - at), at);
    // Shorter than a moment ago: the check of the copy will say so.
    if (bytesRead === 0) return;
    at += bytesRead;
    await use(buffer.subarray(0, bytesRead), at);
  }
}
