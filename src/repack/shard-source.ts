// A shard on disk as the header parser wants it.

import { open } from 'node:fs/promises';
import { asFlashmoeError, FlashmoeError } from '../base/errors.js';
import type { ReadRange } from './types.js';

/** Reads ranges of a file, each whole or ERR_SAFETENSORS; opened anew for each, since a header takes two. */
export function fileRange(path: string): ReadRange {
  return async (start, length) => {
    const file = await open(path, 'r').catch((error: unknown) => {
      throw asFlashmoeError(error);
    });
    try {
      const buffer = new Uint8Array(length);
      let done = 0;
      while (done < length) {
        const { bytesRead } = await file.read(buffer, done, length - done, start + done);
        if (bytesRead === 0) {
          throw new FlashmoeError('ERR_SAFETENSORS', `${path}: ends at byte ${start + done}`);
        }
        done += bytesRead;
      }
      return buffer;
    } catch (error) {
      throw asFlashmoeError(error);
    } finally {
      await file.close();
    }
  };
}
