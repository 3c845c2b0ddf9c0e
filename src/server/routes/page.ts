// The page for people. Its files come from templates/page and, for Markdown, from a package as it was built in; nothing else.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { packageRoot, startFile } from '../../base/package-root.js';
import { ApiError } from '../api-error.js';
import type { ServerContext } from '../context.js';

const FOLDER = join(packageRoot, 'templates', 'page');

/** The module of the package that the terminal's chat reads Markdown with, too. */
const MARKED = 'marked.js';

const TYPES: Record<string, string> = {
  'index.html': 'text/html; charset=utf-8',
  'page.css': 'text/css; charset=utf-8',
  ...Object.fromEntries(
    ['chat', 'conversations', 'dom', 'figures', 'key', 'markdown', 'page', 'sampling']
      .concat('stream', 'turns')
      .map((name) => [`${name}.js`, 'text/javascript; charset=utf-8']),
  ),
  [MARKED]: 'text/javascript; charset=utf-8',
  'icon.svg': 'image/svg+xml',
};

const HEADERS = {
  'content-security-policy': [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "connect-src 'self'",
    "img-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; '),
  'cache-control': 'no-cache',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
};

/** @param name of one of its files; empty for the page itself */
export async function page(_: ServerContext, __: Request, name: string): Promise<Response> {
  const file = name === '' ? 'index.html' : name;
  const type = Object.hasOwn(TYPES, file) ? TYPES[file] : undefined;
  if (type === undefined) {
    throw new ApiError(404, `there is nothing at /page/${name}`, { code: 'unknown_path' });
  }
  const body = await readFile(file === MARKED ? startFile(`page/${MARKED}`) : join(FOLDER, file));
  return new Response(new Uint8Array(body), { headers: { ...HEADERS, 'content-type': type } });
}
