// What a repository holds at one commit, over @huggingface/hub's listFiles with our transport below it.

import { listFiles, type ListFileEntry } from '@huggingface/hub';
import { FlashmoeError } from '../base/errors.js';
import { hubGet, readAll } from './metadata.js';
import type { HubOrigin } from './origin.js';
import { isCommit, isRepoPath } from './repo-path.js';
import type { RetryPolicy } from './retry.js';
import type { HubTask, RepoFile, RepoListing } from './types.js';
import { printable } from './urls.js';

/** A thousand entries make a page on the Hub; more than this is no model repository. */
const MOST_PAGES = 50;
const MOST_PAGE_BYTES = 16 * 1024 * 1024;

/** The commit (40 hex digits) a branch, tag or short name stands for now. */
export async function fetchCommit(
  origin: HubOrigin,
  repo: string,
  revision: string,
  policy: RetryPolicy,
  task: HubTask,
): Promise<string> {
  const url = new URL(
    `${origin.endpoint}/api/models/${repo}/revision/${encodeURIComponent(revision)}`,
  );
  const { body } = await hubGet(
    origin,
    { url, asked: { repo, revision } },
    policy,
    task,
    (answer) => readAll(answer, MOST_PAGE_BYTES, repo),
  );
  const sha = (parseJson(body, repo) as { sha?: unknown } | null)?.sha;
  if (typeof sha !== 'string' || !isCommit(sha)) {
    throw unexpected(repo, 'its description names no commit');
  }
  return sha;
}

/**
 * Every file at `commit`, in the Hub's order; one whose path is not safe below any folder is left out. Throws
 * ERR_REMOTE_CONTENT for a listing that lies.
 */
export async function fetchListing(
  origin: HubOrigin,
  pin: { repo: string; revision: string; commit: string },
  policy: RetryPolicy,
  task: HubTask,
): Promise<RepoListing> {
  const { repo, revision, commit } = pin;
  const entries = listFiles({
    repo,
    revision: commit,
    recursive: true,
    hubUrl: origin.endpoint,
    fetch: pageFetch(origin, { repo, revision }, policy, task),
  });
  const files: RepoFile[] = [];
  const seen = new Map<string, string>();
  for await (const entry of entries) {
    if (entry.type !== 'file') continue;
    // Nothing of that name is ever fetched, so a repository that holds one is none the worse for it.
    if (!isRepoPath(entry.path)) continue;
    const file = toRepoFile(entry, repo);
    const identity = JSON.stringify(file);
    const earlier = seen.get(file.path);
    if (earlier === identity) continue;
    if (earlier !== undefined) throw unexpected(repo, `${file.path} is listed twice and differs`);
    seen.set(file.path, identity);
    files.push(file);
  }
  return { repo, revision, commit, files };
}

/** A fetch for listFiles: our origin only (see nextPage), capped pages, typed errors, retries. */
function pageFetch(
  origin: HubOrigin,
  asked: { repo: string; revision: string },
  policy: RetryPolicy,
  task: HubTask,
): typeof fetch {
  let pages = 0;
  return async (input) => {
    const url = new URL(input instanceof Request ? input.url : input);
    pages += 1;
    if (pages > MOST_PAGES) throw unexpected(asked.repo, `it has more than ${MOST_PAGES} pages`);
    const { headers, body } = await hubGet(origin, { url, asked }, policy, task, (answer) =>
      readAll(answer, MOST_PAGE_BYTES, asked.repo),
    );
    if (!Array.isArray(parseJson(body, asked.repo))) throw unexpected(asked.repo, 'it is no list');
    const next = nextPage(headers.link, url, origin);
    if (next === null) return new Response(new Uint8Array(body));
    if (!next.pathname.includes(`/api/models/${asked.repo}/tree/`)) {
      throw unexpected(asked.repo, `it goes on at ${printable(next)}, which is no listing of it`);
    }
    const link = `<${next.href}>; rel="next"`;
    return new Response(new Uint8Array(body), { headers: { link } });
  };
}

/**
 * Where the listing goes on; null at its end. listFiles overlooks a relative `next`, and would take the first page for
 * the whole. A mirror hands on the links of the Hub itself: its own page of that name is meant, and no other host is
 * ever asked, as the token would go along.
 */
function nextPage(header: string | string[] | undefined, base: URL, origin: HubOrigin): URL | null {
  const match = /<([^>]+)>\s*;[^,]*\brel="?next"?/.exec([header ?? ''].flat().join(', '));
  if (match?.[1] === undefined || !URL.canParse(match[1], base.href)) return null;
  const next = new URL(match[1], base);
  if (origin.isOwn(next)) return next;
  const at = next.pathname.indexOf('/api/models/');
  return new URL(`${origin.endpoint}${next.pathname.slice(Math.max(0, at))}${next.search}`);
}

function toRepoFile(entry: ListFileEntry, repo: string): RepoFile {
  const { path, size, oid, lfs } = entry;
  if (!Number.isSafeInteger(size) || size < 0) throw unexpected(repo, `${path} has no valid size`);
  if (lfs !== undefined) {
    if (!/^[0-9a-f]{64}$/.test(lfs.oid)) throw unexpected(repo, `${path} has no valid sha256`);
    if (lfs.size !== size) throw unexpected(repo, `${path} has two sizes, ${size} and ${lfs.size}`);
    return { path, size, sha256: lfs.oid, gitSha1: null };
  }
  if (oid === undefined || !isCommit(oid))
    throw unexpected(repo, `${path} has no hash to check it by`);
  return { path, size, sha256: null, gitSha1: oid };
}

function parseJson(body: Buffer, repo: string): unknown {
  try {
    return JSON.parse(body.toString('utf8')) as unknown;
  } catch {
    throw unexpected(repo, 'the answer is no JSON (a login page of the network in between?)');
  }
}

function unexpected(repo: string, why: string): FlashmoeError {
  return new FlashmoeError(
    'ERR_REMOTE_CONTENT',
    `the listing of ${repo} was refused: ${why}; nothing was written`,
    { subject: repo },
  );
}
