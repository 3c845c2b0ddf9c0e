// The disk of failing-disk.c around a child process, and what a power cut makes of its files.

import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const SOURCE = fileURLToPath(new URL('./failing-disk.c', import.meta.url));
const BUILT = fileURLToPath(new URL('../../../build/test-programs/', import.meta.url));
const PAGE = 4096;

/** Path of the library to preload; null where it can't be made, with the reason printed, for then tests are skipped. */
export function failingDisk(): string | null {
  if (process.platform !== 'linux') {
    console.log('SKIP: the failing disk is made for the dynamic linker of Linux');
    return null;
  }
  const library = join(BUILT, `failing-disk.${process.pid}.so`);
  mkdirSync(BUILT, { recursive: true });
  try {
    const flags = ['-O1', '-Wall', '-Wextra', '-Werror', '-shared', '-fPIC'];
    execFileSync('cc', [...flags, '-o', library, SOURCE, '-ldl', '-lpthread'], { stdio: 'pipe' });
  } catch (error) {
    const why = (error as { stderr?: Buffer }).stderr?.toString() ?? String(error);
    console.log(`SKIP: no failing disk without a C compiler (${why})`);
    return null;
  }
  return library;
}

/** What of the unsynced survives: names of files, and their content page by page. */
export interface Survivors {
  names: boolean;
  /** Called once for each page that differs. */
  page: () => boolean;
}

/** The part of a disk below `root`, which forgets what was not synced when the power goes. */
export class ForgetfulDisk {
  readonly #library: string;
  readonly #root: string;
  readonly #durable: string;
  readonly #bootId: string;
  #boots = 0;

  /** `scratch`: a folder outside of `root`. */
  constructor(library: string, root: string, scratch: string) {
    this.#library = library;
    this.#root = root;
    this.#durable = join(scratch, 'durable');
    this.#bootId = join(scratch, 'boot-id');
    this.#boot();
  }

  /** For a process that uses it; one at a time. */
  get env(): Record<string, string> {
    return {
      LD_PRELOAD: this.#library,
      FM_DISK_ROOT: this.#root,
      FM_DISK_DURABLE: this.#durable,
      FM_DISK_BOOT: this.#bootId,
    };
  }

  /** The process is dead: its files become what a disk without power would have kept. */
  cutPower(survivors: Survivors): void {
    const ids = this.#ids();
    const live = this.#live(this.#root, ids, new Map());
    const kept = this.#names(1, '', survivors.names ? 'live' : 'durable', ids);
    rmSync(this.#root, { recursive: true });
    mkdirSync(this.#root);
    for (const { id, kind, path } of kept) {
      const to = join(this.#root, path);
      if (kind === 'D') mkdirSync(to, { recursive: true });
      else writeFileSync(to, mixed(this.#content(id), live.get(id) ?? null, survivors.page));
    }
    this.#boot();
  }

  #boot(): void {
    this.#boots += 1;
    rmSync(this.#durable, { recursive: true, force: true });
    mkdirSync(this.#durable, { recursive: true });
    writeFileSync(this.#bootId, `boot-${this.#boots}\n`);
  }

  /** By inode; the newest of one that was used again. */
  #ids(): Map<number, number> {
    const lines = readFileSync(join(this.#durable, 'ids'), 'utf8').trim().split('\n');
    return new Map(lines.map((line) => line.split(' ').map(Number) as [number, number]));
  }

  #live(folder: string, ids: Map<number, number>, found: Map<number, Buffer>): Map<number, Buffer> {
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      const path = join(folder, entry.name);
      if (entry.isDirectory()) this.#live(path, ids, found);
      const id = ids.get(statSync(path, { throwIfNoEntry: false })?.ino ?? 0);
      if (entry.isFile() && id !== undefined) found.set(id, readFileSync(path));
    }
    return found;
  }

  #names(
    folder: number,
    below: string,
    which: 'live' | 'durable',
    ids: Map<number, number>,
  ): { id: number; kind: string; path: string }[] {
    const entries = which === 'live' ? this.#liveNames(below, ids) : this.#durableNames(folder);
    return entries.flatMap(({ id, kind, name }) => {
      const path = join(below, name);
      const inside = kind === 'D' ? this.#names(id, path, which, ids) : [];
      return [{ id, kind, path }, ...inside];
    });
  }

  #liveNames(
    below: string,
    ids: Map<number, number>,
  ): { id: number; kind: string; name: string }[] {
    const folder = join(this.#root, below);
    return readdirSync(folder, { withFileTypes: true })
      .filter((entry) => entry.isFile() || entry.isDirectory())
      .map((entry) => {
        const id = ids.get(statSync(join(folder, entry.name)).ino) ?? 0;
        return { id, kind: entry.isDirectory() ? 'D' : 'F', name: entry.name };
      });
  }

  #durableNames(folder: number): { id: number; kind: string; name: string }[] {
    const text = this.#read(`D${folder}`)?.toString() ?? '';
    return text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => {
        const [kind = '', id = '', ...name] = line.split(' ');
        return { id: Number(id), kind, name: name.join(' ') };
      });
  }

  #content(id: number): Buffer {
    return this.#read(`F${id}`) ?? Buffer.alloc(0);
  }

  #read(name: string): Buffer | null {
    try {
      return readFileSync(join(this.#durable, name));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
      throw error;
    }
  }
}

/** Pages of either; where one is shorter the other's length stands with its pages, zeros in between. */
function mixed(durable: Buffer, live: Buffer | null, page: () => boolean): Buffer {
  if (live === null || live.equals(durable)) return durable;
  const isLiveLength = page();
  const result = Buffer.alloc(isLiveLength ? live.length : durable.length);
  for (let at = 0; at < result.length; at += PAGE) {
    const [old, now] = [durable, live].map((each) => each.subarray(at, at + PAGE)) as [
      Buffer,
      Buffer,
    ];
    (!old.equals(now) && page() ? now : old).copy(result, at);
  }
  return result;
}
