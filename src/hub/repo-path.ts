// Names from the network: nothing here becomes part of a URL or a path on disk before it was checked.

import { FlashmoeError } from '../base/errors.js';

/** `org/name`, as the Hub allows it. Throws ERR_USAGE. */
export function checkRepoId(repo: string): string {
  const part = '(?!\\.)(?!.*(?:\\.\\.|--))[A-Za-z0-9._-]{1,96}(?<![.-])';
  if (!new RegExp(`^${part}/${part}$`).test(repo) || repo.endsWith('.git')) {
    throw new FlashmoeError('ERR_USAGE', `${JSON.stringify(repo)} is no repository id`, {
      hint: 'write it as organisation/name, as it stands in the address of its page',
      subject: repo,
    });
  }
  return repo;
}

/** A branch, tag, `refs/pr/1` or commit. Throws ERR_USAGE. */
export function checkRevision(revision: string): string {
  const isName = /^[A-Za-z0-9._/-]{1,255}$/.test(revision) && !revision.includes('..');
  if (!isName || revision.startsWith('/') || revision.endsWith('/')) {
    throw new FlashmoeError('ERR_USAGE', `${JSON.stringify(revision)} is no revision`, {
      hint: 'name a branch, a tag or a commit',
      subject: revision,
    });
  }
  return revision;
}

export function isCommit(text: string): boolean {
  return /^[0-9a-f]{40}$/.test(text);
}

/**
 * Whether a file path from a listing is safe below any folder: relative, no `.` or `..` part, no backslash, no
 * NUL or control character, no percent escape of one of these.
 */
export function isRepoPath(path: string): boolean {
  return fault(path) === null;
}

function fault(path: string): string | null {
  if (path === '') return 'is empty';
  if (Buffer.byteLength(path) > 1024) return 'is longer than 1024 bytes';
  if (/[\u0000-\u001f\u007f-\u009f]/.test(path)) return 'holds control characters';
  if (path.includes('\\')) return 'holds a backslash';
  if (path.startsWith('/') || /^[A-Za-z]:/.test(path)) return 'is absolute';
  // A server or a file system that decodes once more must not find a way out.
  if (/%(2e|2f|5c|00)/i.test(path)) return 'hides a path sign behind a percent escape';
  const parts = path.split('/');
  if (parts.some((part) => part === '..' || part === '.')) return 'climbs out of its folder';
  if (parts.some((part) => part === '')) return 'has an empty part';
  if (parts.some((part) => Buffer.byteLength(part) > 255))
    return 'has a part longer than 255 bytes';
  return null;
}

/** Throws ERR_REMOTE_CONTENT for two names that a case-folding or normalising file system takes for one. */
export function checkNoTwins(paths: readonly string[]): void {
  const seen = new Map<string, string>();
  for (const path of paths) {
    const folded = path.normalize('NFC').toLowerCase();
    const twin = seen.get(folded);
    if (twin !== undefined) {
      throw new FlashmoeError(
        'ERR_REMOTE_CONTENT',
        `the listing holds two names that are one file on a Mac: ${JSON.stringify(twin)} and ${JSON.stringify(path)}; nothing was written`,
        { subject: path },
      );
    }
    seen.set(folded, path);
  }
}

/** Each part escaped, slashes kept. */
export function encodePath(path: string): string {
  return path.split('/').map(encodeURIComponent).join('/');
}
