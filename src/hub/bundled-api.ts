// The bundled hub's API routes: revision, tree and paths-info, in the Hub's own shapes.

import type { IncomingMessage, ServerResponse } from 'node:http';
import { isRevision, type BundledFile, type BundledRepo } from './bundled-repo.js';
import { refuse } from './loopback-server.js';

const MOST_BODY_BYTES = 1024 * 1024;

/** Answers `/api/models/{repo}`, `/revision/{rev}`, `/tree/{rev}` and `/paths-info/{rev}`. */
export async function apiRoute(
  repo: BundledRepo,
  pageSize: number,
  request: IncomingMessage,
  response: ServerResponse,
  url: URL,
): Promise<void> {
  const base = `/api/models/${repo.id}`;
  const { pathname } = url;
  if (pathname !== base && !pathname.startsWith(`${base}/`)) {
    return refuse(response, 404, 'RepoNotFound');
  }
  const [, verb, revision = 'main'] = pathname.slice(base.length).split('/');
  if (!isRevision(repo, decode(revision))) return refuse(response, 404, 'RevisionNotFound');
  const wantsPost = verb === 'paths-info';
  if (wantsPost !== (request.method === 'POST')) return refuse(response, 405, 'BadMethod');
  if (verb === undefined || verb === 'revision') {
    const siblings = repo.files.map(({ path }) => ({ rfilename: path }));
    return json(response, { id: repo.id, modelId: repo.id, sha: repo.commit, siblings });
  }
  if (verb === 'tree') return tree(repo, pageSize, response, url);
  if (verb === 'paths-info') {
    const wanted = await wantedPaths(request);
    if (wanted === null) return refuse(response, 400, 'BadRequest');
    return json(response, repo.files.filter(({ path }) => wanted.has(path)).map(treeEntry));
  }
  refuse(response, 404, 'RepoNotFound');
}

function tree(repo: BundledRepo, pageSize: number, response: ServerResponse, url: URL): void {
  const entries = treeEntries(repo, url.searchParams.get('recursive') === 'true');
  const from = Number(url.searchParams.get('cursor') ?? '0');
  if (!Number.isSafeInteger(from) || from < 0) return refuse(response, 400, 'BadRequest');
  if (from + pageSize < entries.length) {
    const next = new URL(url);
    next.searchParams.set('cursor', String(from + pageSize));
    response.setHeader('link', `<${next.href}>; rel="next"`);
  }
  json(response, entries.slice(from, from + pageSize));
}

/** Files and the folders they imply; without `recursive` only what lies at the top. */
function treeEntries(repo: BundledRepo, recursive: boolean): object[] {
  const folders = new Set<string>();
  for (const { path } of repo.files) {
    for (let at = path.indexOf('/'); at !== -1; at = path.indexOf('/', at + 1)) {
      folders.add(path.slice(0, at));
    }
  }
  const isShown = (path: string) => recursive || !path.includes('/');
  const directories = [...folders].map((path) => ({
    type: 'directory',
    oid: repo.commit,
    size: 0,
    path,
  }));
  return [...directories, ...repo.files.map(treeEntry)].filter(({ path }) => isShown(path));
}

function treeEntry({ path, size, oid, lfs }: BundledFile) {
  const common = { type: 'file', oid, size, path };
  return lfs === null ? common : { ...common, lfs };
}

async function wantedPaths(request: IncomingMessage): Promise<Set<string> | null> {
  let body = '';
  for await (const chunk of request) {
    body += String(chunk);
    if (body.length > MOST_BODY_BYTES) return null;
  }
  // The Hub's own client sends a form, others JSON.
  if (request.headers['content-type']?.startsWith('application/x-www-form-urlencoded')) {
    return new Set(new URLSearchParams(body).getAll('paths'));
  }
  try {
    const { paths } = JSON.parse(body) as { paths?: unknown };
    return Array.isArray(paths) ? new Set(paths.filter((path) => typeof path === 'string')) : null;
  } catch {
    return null;
  }
}

function json(response: ServerResponse, value: unknown): void {
  const body = Buffer.from(JSON.stringify(value));
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': body.length });
  response.end(body);
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return '';
  }
}
