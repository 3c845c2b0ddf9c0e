// What a listing promises of a file's bytes, checked while they pass: sha256 of an LFS file, and for a
// plain one git's sha1 over "blob <size>\0" and the bytes.

import { createHash, type Hash } from 'node:crypto';
import type { RepoFile } from './types.js';

export class ContentHash {
  readonly algorithm: 'sha256' | 'git sha1';
  readonly expected: string;
  readonly #hash: Hash;

  constructor(file: RepoFile) {
    if (file.sha256 !== null) {
      this.algorithm = 'sha256';
      this.expected = file.sha256;
      this.#hash = createHash('sha256');
    } else {
      this.algorithm = 'git sha1';
      this.expected = file.gitSha1 ?? '';
      this.#hash = createHash('sha1').update(`blob ${file.size}\0`);
    }
  }

  update(bytes: Uint8Array): void {
    this.#hash.update(bytes);
  }

  /** Hex; ends this hash. */
  digest(): string {
    return this.#hash.digest('hex');
  }
}
