// Asking a lock who holds it, without wanting it. See file-lock.ts for the form on disk.

import { readdir, readFile, realpath } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { basename, dirname, join, resolve } from 'node:path';

/** sun_path is 104 bytes on macOS with its NUL, 108 on Linux; libuv cuts longer ones silently. */
export const SOCKET_PATH_LIMIT = 103;

export interface LockOwner {
  /** null when the owner is alive but did not answer in time (stopped, or very busy). */
  pid: number | null;
  /** ISO 8601. */
  since: string | null;
  /** Whatever the owner says about itself. */
  state: unknown;
  /** Version of the commands it takes on the same connection; null when it takes none. */
  control: number | null;
}

export interface FoundOwner {
  owner: LockOwner;
  /** Where it listens; null when it can't be reached from here. */
  socket: string | null;
}

const SILENT: LockOwner = { pid: null, since: null, state: null, control: null };
const ANSWER_MS = 2_000;
const ANSWER_LIMIT = 64 * 1024;

/** The live owner of the lock at `path`, or null: free or stale. Changes nothing. */
export async function probeLock(lockPath: string): Promise<LockOwner | null> {
  return (await findOwner(lockPath))?.owner ?? null;
}

/** As probeLock, and where the owner can be spoken to. */
export async function findOwner(lockPath: string): Promise<FoundOwner | null> {
  let path: string;
  let names: string[];
  try {
    path = await canonical(lockPath);
    names = await readdir(path);
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return null;
    throw error;
  }
  for (const nonce of new Set(names.map((name) => name.replace(/\.(json|sock)$/, '')))) {
    const found = await findEntry(path, nonce);
    if (found !== null) return found;
  }
  return null;
}

/** One spelling for both sides, whatever links lead there; the parent folder must exist. */
export async function canonical(lockPath: string): Promise<string> {
  const path = resolve(lockPath);
  return join(await realpath(dirname(path)), basename(path));
}

/** The owner of one entry of a lock folder, by its nonce; null when nobody listens any more. */
export async function probeEntry(folder: string, nonce: string): Promise<LockOwner | null> {
  return (await findEntry(folder, nonce))?.owner ?? null;
}

async function findEntry(folder: string, nonce: string): Promise<FoundOwner | null> {
  const named = (await readSocketName(join(folder, `${nonce}.json`))) ?? `${nonce}.sock`;
  const socket = named.startsWith('/') ? named : join(folder, named);
  // Seen through another mount, perhaps: it cannot be asked from here, so it counts as alive.
  if (Buffer.byteLength(socket) > SOCKET_PATH_LIMIT) return { owner: SILENT, socket: null };
  let answer = await askSocket(socket);
  // An owner that died in the middle of its answer refuses the second connection.
  if (answer === 'broken') answer = await askSocket(socket);
  if (answer === null) return null;
  return { owner: answer === 'broken' ? SILENT : answer, socket };
}

async function readSocketName(entry: string): Promise<string | null> {
  try {
    const parsed: unknown = JSON.parse(await readFile(entry, 'utf8'));
    const socket = (parsed as { socket?: unknown } | null)?.socket;
    return typeof socket === 'string' ? socket : null;
  } catch {
    // Gone, or cut short by the crash of an owner that never got the lock: its default socket decides.
    return null;
  }
}

function askSocket(socket: string): Promise<LockOwner | 'broken' | null> {
  return new Promise((resolve, reject) => {
    let connected = false;
    let text = '';
    const client = createConnection(socket);
    const finish = (owner: LockOwner | 'broken' | null): void => {
      clearTimeout(timer);
      client.destroy();
      resolve(owner);
    };
    const timer = setTimeout(() => {
      finish(SILENT);
    }, ANSWER_MS);
    client.setEncoding('utf8');
    client.on('connect', () => {
      connected = true;
    });
    client.on('data', (chunk: string) => {
      text += chunk;
      const end = text.indexOf('\n');
      // An owner that takes commands keeps the connection: its first line is the answer.
      if (end >= 0) finish(parseAnswer(text.slice(0, end)) ?? 'broken');
      else if (text.length > ANSWER_LIMIT) finish(SILENT);
    });
    client.on('end', () => {
      finish(parseAnswer(text) ?? 'broken');
    });
    client.on('error', (error: NodeJS.ErrnoException) => {
      if (connected || error.code === 'ECONNRESET') finish('broken');
      else if (['ECONNREFUSED', 'ENOENT', 'ENOTSOCK'].includes(error.code ?? '')) finish(null);
      // The queue of a live owner is full.
      else if (error.code === 'EAGAIN') finish(SILENT);
      else {
        clearTimeout(timer);
        reject(error);
      }
    });
  });
}

function parseAnswer(text: string): LockOwner | null {
  try {
    const { pid, since, state, control } = JSON.parse(text) as Record<string, unknown>;
    if (typeof pid !== 'number' || typeof since !== 'string') return null;
    const version = typeof control === 'number' ? control : null;
    return { pid, since, state: state ?? null, control: version };
  } catch {
    return null;
  }
}
