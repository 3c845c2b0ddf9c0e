// Who answers with a model right now. A server holds a lock of its own in the model's folder while the model is open, so
// whoever wants the files gone asks there, whatever port, home or user the server has. The lock of a dead server holds nothing.

import { randomBytes } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { asFlashmoeError, FlashmoeError } from '../base/errors.js';
import { acquireLock, probeLock, type FileLock, type LockOptions } from '../base/file-lock.js';
import type { ModelPaths } from '../base/paths.js';

/** A lock, or what a server that died while it took one left. */
const NAME = /^(serving-[0-9a-f]{8}\.lock)(\.[0-9a-f]{8})?$/;

/** Whether a path relative to the model's folder is in a server's lock. */
export function isPresence(path: string): boolean {
  return NAME.test(path.split('/')[0] ?? '');
}

/** A server's lock in the folder of the model that it answers with. */
export class Presence {
  #root: string | null = null;
  #lock: FileLock | null = null;

  /** In this folder, and in no other any more. Nothing where it can't be written to: nobody can take files from there either. */
  async enter({ root }: Pick<ModelPaths, 'root'>, options: LockOptions = {}): Promise<void> {
    if (this.#root === root) return;
    await this.leave();
    const name = `serving-${randomBytes(4).toString('hex')}.lock`;
    try {
      this.#lock = await acquireLock(join(root, name), options);
    } catch (thrown) {
      const { code } = thrown as NodeJS.ErrnoException;
      if (code !== 'EROFS' && code !== 'EACCES' && code !== 'EPERM') throw asFlashmoeError(thrown);
    }
    this.#root = root;
  }

  async leave(): Promise<void> {
    this.#root = null;
    await this.#lock?.release();
    this.#lock = null;
  }
}

/** Throws ERR_LOCKED while any server has the model of this folder open. Takes away what dead ones left. */
export async function requireUnused({ root }: Pick<ModelPaths, 'root'>): Promise<void> {
  const names = (await readdir(root).catch(() => [])).flatMap((name) => NAME.exec(name)?.[1] ?? []);
  for (const name of new Set(names)) {
    const path = join(root, name);
    const owner = await probeLock(path);
    if (owner === null) {
      await (await acquireLock(path)).release();
      continue;
    }
    const pid = owner.pid === null ? '' : ` (pid ${owner.pid})`;
    throw new FlashmoeError(
      'ERR_LOCKED',
      `a server${pid} is using the model in ${root}; nothing was changed`,
      {
        hint: `stop it first${owner.pid === null ? '' : `: \`flashmoe service stop\` if it is the service, else kill ${owner.pid}`}`,
        subject: root,
      },
    );
  }
}
