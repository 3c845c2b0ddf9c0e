// One owner at a time, and a dead owner holds nothing.
//
// A lock is a folder with one entry in it, named by its owner's nonce, and a Unix socket on which the
// owner listens. The kernel closes the socket when the owner dies, however it dies: a connection
// accepted means alive, refused means stale. No process id is trusted, so a reused one cannot mislead.
//
// Taking is one rename of a prepared folder onto the lock: rename(2) replaces an empty folder and
// refuses a full one. Removing a stale owner unlinks names that only that owner ever used, so two
// takers cannot remove one another, and only one of their renames finds the folder empty.

import { randomBytes } from 'node:crypto';
import { chmod, lstat, mkdir, readdir, rename, rm, rmdir } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { basename, dirname, join } from 'node:path';
import { FlashmoeError } from './errors.js';
import { writeFileAtomic } from './atomic-file.js';
import { currentHost, type Host } from './host.js';
import {
  canonical,
  probeEntry,
  probeLock,
  SOCKET_PATH_LIMIT,
  type LockOwner,
} from './lock-probe.js';

export { probeLock, type LockOwner } from './lock-probe.js';

export interface FileLock {
  /** Frees the lock; safe to call twice. */
  release(): Promise<void>;
}

export interface LockOptions {
  /** What a second process is told about this one: any JSON value, asked for at each connection. */
  state?: () => unknown;
  /** Commands that the owner takes on a connection after its greeting; without it the greeting is all. */
  control?: { version: number; accept: (socket: Socket) => void };
  host?: Pick<Host, 'pid' | 'userId' | 'temporaryDirectory' | 'now'>;
}

/** Takes the lock at `path` or throws ERR_LOCKED naming the live owner. The parent folder must exist. */
export async function acquireLock(lockPath: string, options: LockOptions = {}): Promise<FileLock> {
  const path = await canonical(lockPath);
  const world = options.host ?? currentHost();
  const nonce = randomBytes(4).toString('hex');
  const since = new Date(world.now()).toISOString();
  const prepared = `${path}.${nonce}`;
  await mkdir(prepared, { mode: 0o700 });
  let server: Server | undefined;
  try {
    const { control } = options;
    const greet = (client: Socket): void => {
      const about = { pid: world.pid, since, state: options.state?.() ?? null };
      if (control === undefined) {
        client.end(`${JSON.stringify(about)}\n`);
        return;
      }
      client.write(`${JSON.stringify({ ...about, control: control.version })}\n`);
      control.accept(client);
    };
    const listening = await listenFor(prepared, nonce, greet, world);
    server = listening.server;
    const entry = JSON.stringify({ pid: world.pid, since, socket: listening.named });
    await writeFileAtomic(join(prepared, `${nonce}.json`), entry, 0o600);
    await moveIntoPlace(prepared, path);
    const held = server;
    return { release: () => release(path, nonce, held, listening.outside) };
  } catch (error) {
    server?.close();
    await rm(prepared, { recursive: true, force: true });
    throw error;
  }
}

async function moveIntoPlace(prepared: string, path: string): Promise<void> {
  for (;;) {
    try {
      await rename(prepared, path);
      break;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== 'ENOTEMPTY' && code !== 'EEXIST') throw error;
    }
    const owner = await probeLock(path);
    if (owner !== null) throw locked(owner);
    await removeStaleEntries(path);
  }
  await sweepDeadContenders(path);
}

async function removeStaleEntries(path: string): Promise<void> {
  for (const name of await namesIn(path)) {
    const nonce = name.replace(/\.(json|sock)$/, '');
    // Probed once more, entry by entry: a new owner may have moved in since.
    if ((await probeEntry(path, nonce)) !== null) return;
    await rm(join(path, name), { force: true });
  }
}

/** Folders prepared by processes that died before their rename. */
async function sweepDeadContenders(path: string): Promise<void> {
  const prefix = `${basename(path)}.`;
  for (const name of await namesIn(dirname(path))) {
    const nonce = name.startsWith(prefix) ? name.slice(prefix.length) : '';
    if (!/^[0-9a-f]{8}$/.test(nonce)) continue;
    const folder = join(dirname(path), name);
    const names = await namesIn(folder);
    // One that listens nowhere yet may be a moment old: it is left alone.
    if (!names.some((entry) => entry.endsWith('.sock') || entry.endsWith('.json'))) continue;
    if ((await probeEntry(folder, nonce)) !== null) continue;
    await rm(folder, { recursive: true, force: true });
  }
}

interface Listening {
  server: Server;
  /** As the entry names it: a plain name beside the entry, or an absolute path. */
  named: string;
  /** Absolute path of a socket outside the lock folder. */
  outside: string | null;
}

/** Beside the entry where the path is short enough and the volume can hold sockets, else in the runtime folder. */
async function listenFor(
  prepared: string,
  nonce: string,
  greet: (client: Socket) => void,
  world: Pick<Host, 'userId' | 'temporaryDirectory'>,
): Promise<Listening> {
  const beside = join(prepared, `${nonce}.sock`);
  if (Buffer.byteLength(beside) <= SOCKET_PATH_LIMIT) {
    try {
      return { server: await listen(beside, greet), named: `${nonce}.sock`, outside: null };
    } catch {
      // exFAT and some network volumes hold no sockets, each with its own code; the next place decides.
    }
  }
  const folder = await runtimeFolder(world);
  const outside = join(folder, `${nonce}${randomBytes(4).toString('hex')}.sock`);
  if (Buffer.byteLength(outside) > SOCKET_PATH_LIMIT) {
    throw new FlashmoeError(
      'ERR_HOME',
      `no folder with a short enough path for a lock: ${folder}`,
      {
        hint: 'set TMPDIR to a shorter path',
      },
    );
  }
  return { server: await listen(outside, greet), named: outside, outside };
}

async function runtimeFolder(world: Pick<Host, 'userId' | 'temporaryDirectory'>): Promise<string> {
  const folder = join(world.temporaryDirectory, `flashmoe-${world.userId ?? 'user'}`);
  await mkdir(folder, { mode: 0o700, recursive: true });
  const found = await lstat(folder);
  // The folder's name can be guessed: one that somebody else made first is not ours to use.
  if (!found.isDirectory() || (world.userId !== null && found.uid !== world.userId)) {
    throw new FlashmoeError('ERR_HOME', `${folder} belongs to another user`, {
      hint: 'set TMPDIR to a folder of your own',
    });
  }
  await chmod(folder, 0o700);
  return folder;
}

async function listen(socket: string, greet: (client: Socket) => void): Promise<Server> {
  const server = createServer((client) => {
    client.on('error', () => client.destroy());
    greet(client);
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(socket, resolve);
  });
  server.unref();
  // Its folder is the owner's alone already; the socket says so, too.
  await chmod(socket, 0o600);
  return server;
}

async function release(
  path: string,
  nonce: string,
  server: Server,
  outside: string | null,
): Promise<void> {
  server.close();
  if (outside !== null) await rm(outside, { force: true });
  await rm(join(path, `${nonce}.sock`), { force: true });
  await rm(join(path, `${nonce}.json`), { force: true });
  try {
    await rmdir(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    // The next owner has moved in already, or moved out again.
    if (code !== 'ENOTEMPTY' && code !== 'EEXIST' && code !== 'ENOENT') throw error;
  }
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return [];
    throw error;
  }
}

function locked(owner: LockOwner): FlashmoeError {
  const pid = owner.pid === null ? '' : ` (pid ${owner.pid})`;
  return new FlashmoeError(
    'ERR_LOCKED',
    `another flashmoe${pid} is at work here; nothing was changed`,
    {
      hint:
        owner.pid === null
          ? 'wait for it to finish'
          : `wait for it, or stop it with: kill ${owner.pid}`,
    },
  );
}
