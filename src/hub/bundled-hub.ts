// A hub of our own on loopback: one local folder with the real Hub's routes, redirects and headers, so that
// the bundled model is provisioned by the very code that provisions the large ones.

import type { IncomingMessage, ServerResponse } from 'node:http';
import { apiRoute } from './bundled-api.js';
import { isRevision, scanRepo, type BundledFile, type BundledRepo } from './bundled-repo.js';
import { listen, refuse } from './loopback-server.js';
import { encodePath } from './repo-path.js';
import { serveFile } from './serve-file.js';
import { SignedUrls } from './signed-urls.js';

export interface BundledHubOptions {
  /** Entries in a page of the listing. */
  pageSize?: number;
  /** How long an address at the CDN works. */
  urlLifetimeMs?: number;
}

export interface BundledHub {
  /** `http://127.0.0.1:<port>`, to be used as HubSettings.endpoint. */
  endpoint: string;
  /** Where large files are redirected to: another port, hence another origin. */
  cdn: string;
  repo: string;
  /** Also reachable as `main`. */
  commit: string;
  /** Stops listening and cuts what is still open. */
  close(): Promise<void>;
}

/**
 * Serves `folder` as repository `repo` (`organisation/name`) on two ephemeral loopback ports. Safetensors and
 * files over 10 MiB are LFS: redirected to signed, expiring addresses; the rest are git blobs.
 */
export async function startBundledHub(
  folder: string,
  repo: string,
  options: BundledHubOptions = {},
): Promise<BundledHub> {
  return await serveRepo(await scanRepo(folder, repo), options);
}

/** The same for files whose hashes are known. */
export async function serveRepo(
  scanned: BundledRepo,
  options: BundledHubOptions = {},
): Promise<BundledHub> {
  const urls = new SignedUrls(options.urlLifetimeMs ?? 3_600_000);
  const cdn = await listen((request, response, url) =>
    cdnRoute(scanned, urls, request, response, url),
  );
  const hub = await listen((request, response, url) => {
    const at = { repo: scanned, urls, cdn: cdn.origin, pageSize: options.pageSize ?? 1000 };
    return hubRoute(at, request, response, url);
  }).catch(async (error: unknown) => {
    await cdn.close();
    throw error;
  });
  return {
    endpoint: hub.origin,
    cdn: cdn.origin,
    repo: scanned.id,
    commit: scanned.commit,
    close: async () => {
      await Promise.all([hub.close(), cdn.close()]);
    },
  };
}

interface HubContext {
  repo: BundledRepo;
  urls: SignedUrls;
  cdn: string;
  pageSize: number;
}

async function hubRoute(
  context: HubContext,
  request: IncomingMessage,
  response: ServerResponse,
  url: URL,
): Promise<void> {
  const { repo } = context;
  const cached = `/api/resolve-cache/models/${repo.id}/${repo.commit}/`;
  if (url.pathname.startsWith(cached)) {
    const file = fileAt(repo, url.pathname.slice(cached.length));
    if (file === null || file.lfs !== null) return refuse(response, 404, 'EntryNotFound');
    return await serveFile(request, response, { ...file, etag: `"${file.oid}"` }, pin(repo));
  }
  if (url.pathname.startsWith('/api/')) {
    return await apiRoute(repo, context.pageSize, request, response, url);
  }
  const [, org, name, verb, revision, ...rest] = url.pathname.split('/');
  if (verb !== 'resolve' || request.method === 'POST') return refuse(response, 404, 'RepoNotFound');
  if (`${org ?? ''}/${name ?? ''}` !== repo.id) return refuse(response, 404, 'RepoNotFound');
  if (!isRevision(repo, revision)) return refuse(response, 404, 'RevisionNotFound');
  const file = fileAt(repo, rest.join('/'));
  if (file === null) return refuse(response, 404, 'EntryNotFound');
  redirect(context, response, file);
}

function redirect(
  { repo, urls, cdn }: HubContext,
  response: ServerResponse,
  file: BundledFile,
): void {
  const place = encodePath(file.path);
  if (file.lfs === null) {
    response.writeHead(307, {
      ...pin(repo),
      etag: `"${file.oid}"`,
      location: `/api/resolve-cache/models/${repo.id}/${repo.commit}/${place}`,
      'content-length': 0,
    });
  } else {
    response.writeHead(302, {
      ...pin(repo),
      'x-linked-etag': `"${file.lfs.oid}"`,
      'x-linked-size': file.size,
      location: `${cdn}${urls.sign(`/${repo.id}/${file.lfs.oid}`)}`,
      'content-length': 0,
    });
  }
  response.end();
}

async function cdnRoute(
  repo: BundledRepo,
  urls: SignedUrls,
  request: IncomingMessage,
  response: ServerResponse,
  url: URL,
): Promise<void> {
  const file = repo.files.find(
    ({ lfs }) => lfs !== null && url.pathname === `/${repo.id}/${lfs.oid}`,
  );
  const lfs = file?.lfs ?? null;
  if (file === undefined || lfs === null || request.method === 'POST') {
    return refuse(response, 404, null);
  }
  if (!urls.isValid(url)) {
    const body = '<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>';
    response.writeHead(403, { 'content-type': 'application/xml', 'content-length': body.length });
    response.end(body);
    return;
  }
  await serveFile(request, response, { ...file, etag: `"${lfs.oid.slice(0, 32)}"` }, {});
}

function fileAt(repo: BundledRepo, encoded: string): BundledFile | null {
  let path: string;
  try {
    path = decodeURIComponent(encoded);
  } catch {
    return null;
  }
  // Looked up, never joined: a path that was not scanned does not exist.
  return repo.files.find((file) => file.path === path) ?? null;
}

function pin(repo: BundledRepo) {
  return { 'x-repo-commit': repo.commit };
}
