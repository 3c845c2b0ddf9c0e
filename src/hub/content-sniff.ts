// The first bytes of a file tell a web page or an LFS pointer from what was asked for. Pure.

/** As many first bytes as a verdict needs. */
export const SNIFF_BYTES = 64;

export type Sniffed = 'content' | 'html' | 'lfs-pointer';

/** A page by its declared type, at any offset. Repositories may hold pages of their own. */
export function isHtmlType(contentType: string | undefined, path: string): boolean {
  return /^text\/html\b/i.test(contentType?.trim() ?? '') && !isPage(path);
}

/** What a body is that begins with `head`. A single `<` proves nothing: it may be the low byte of a length. */
export function sniff(head: Buffer, path: string): Sniffed {
  const text = head.toString('latin1');
  if (text.startsWith('version https://git-lfs')) return 'lfs-pointer';
  if (!isPage(path) && /^[\s\u00ef\u00bb\u00bf]*<(!doctype html|html|head|body)\b/i.test(text))
    return 'html';
  return 'content';
}

function isPage(path: string): boolean {
  return /\.x?html?$/i.test(path);
}
