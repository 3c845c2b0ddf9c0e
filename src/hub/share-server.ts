// Finished files for other machines, read-only, with the Hub's own routes: whoever can fetch from the Hub can fetch
// from here. On loopback without a key; anywhere else only with one.

import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { FlashmoeError } from '../base/errors.js';
import { apiRoute } from './bundled-api.js';
import { isRevision, type BundledRepo } from './bundled-repo.js';
import { listen, refuse, type Listening } from './loopback-server.js';
import { serveFile } from './serve-file.js';

/** What every share calls its one repository. */
export const SHARED_REPO = 'flashmoe/shared';

const PAGE_SIZE = 1000;
const LOCAL_NAME = /^(localhost|127\.0\.0\.1|\[::1\])(:\d+)?$/i;

export interface ShareAt {
  host: string;
  /** 0 for any free one. */
  port: number;
  /** Sent as a bearer token; null for a loopback address only. */
  key: string | null;
}

/** Throws ERR_PORT_IN_USE and ERR_USAGE for an address that can't be listened on. */
export async function serveShared(repo: BundledRepo, at: ShareAt): Promise<Listening> {
  const { host, port, key } = at;
  const refusal = (request: IncomingMessage): [number, string] | null => {
    if (key !== null) return isKey(request, key) ? null : [401, 'KeyNeeded'];
    // A page in a browser may point a name of its own at loopback. The port may be a tunnel's.
    return LOCAL_NAME.test(request.headers.host ?? '') ? null : [421, 'BadHost'];
  };
  const route = (request: IncomingMessage, response: ServerResponse, url: URL): Promise<void> =>
    shareRoute(repo, request, response, url);
  try {
    return await listen(route, { host, port, refusal });
  } catch (cause) {
    const inUse = (cause as NodeJS.ErrnoException).code === 'EADDRINUSE';
    throw new FlashmoeError(
      inUse ? 'ERR_PORT_IN_USE' : 'ERR_USAGE',
      inUse ? `port ${port} of ${host} is taken` : `${host} can't be listened on`,
      { cause, hint: inUse ? 'choose another --port' : 'name an address of this machine' },
    );
  }
}

async function shareRoute(
  repo: BundledRepo,
  request: IncomingMessage,
  response: ServerResponse,
  url: URL,
): Promise<void> {
  if (request.method === 'POST') return refuse(response, 405, 'BadMethod');
  if (url.pathname.startsWith('/api/')) {
    return await apiRoute(repo, PAGE_SIZE, request, response, url);
  }
  const prefix = `/${repo.id}/resolve/`;
  if (!url.pathname.startsWith(prefix)) return refuse(response, 404, 'RepoNotFound');
  const [revision, ...rest] = url.pathname.slice(prefix.length).split('/');
  if (!isRevision(repo, revision)) return refuse(response, 404, 'RevisionNotFound');
  // Looked up, never joined. Names of a manifest need no escapes.
  const file = repo.files.find(({ path }) => path === rest.join('/'));
  if (file === undefined) return refuse(response, 404, 'EntryNotFound');
  const etag = `"${file.lfs?.oid ?? file.oid}"`;
  await serveFile(request, response, { ...file, etag }, { 'x-repo-commit': repo.commit });
}

function isKey({ headers }: IncomingMessage, key: string): boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(headers.authorization ?? ''), digest(`Bearer ${key}`));
}
