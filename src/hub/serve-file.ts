// A file over HTTP with ranges, as object stores serve it: 200, 206 or 416, never more than one range.

import { open } from 'node:fs/promises';
import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';

export interface ServedFile {
  absolutePath: string;
  size: number;
  /** Quoted. */
  etag: string;
}

/** Answers GET or HEAD. A file that no longer has the size it was listed with is a 500, not other bytes. */
export async function serveFile(
  request: IncomingMessage,
  response: ServerResponse,
  file: ServedFile,
  headers: OutgoingHttpHeaders,
): Promise<void> {
  const { size, etag } = file;
  const common = { ...headers, etag, 'accept-ranges': 'bytes' };
  const range = rangeOf(request, file);
  if (range === 'unsatisfiable') {
    response.writeHead(416, { ...common, 'content-range': `bytes */${size}`, 'content-length': 0 });
    response.end();
    return;
  }
  const handle = await open(file.absolutePath, 'r');
  try {
    if ((await handle.stat()).size !== size) {
      response.writeHead(500, { 'content-length': 0 }).end();
      return;
    }
    const { start, end } = range ?? { start: 0, end: size };
    const contentRange =
      range === null ? {} : { 'content-range': `bytes ${start}-${end - 1}/${size}` };
    response.writeHead(range === null ? 200 : 206, {
      ...common,
      ...contentRange,
      'content-type': 'application/octet-stream',
      'content-length': end - start,
    });
    if (request.method === 'HEAD' || end === start) {
      response.end();
      return;
    }
    await pipeline(
      handle.createReadStream({ start, end: end - 1, autoClose: false, highWaterMark: 256 * 1024 }),
      response,
    );
  } finally {
    await handle.close();
  }
}

function rangeOf(
  request: IncomingMessage,
  { size, etag }: ServedFile,
): { start: number; end: number } | 'unsatisfiable' | null {
  const match = /^bytes=(\d*)-(\d*)$/.exec(request.headers.range ?? '');
  const [, first = '', last = ''] = match ?? [];
  if (match === null || (first === '' && last === '')) return null;
  const condition = request.headers['if-range'];
  if (condition !== undefined && condition !== etag) return null;
  const start = first === '' ? Math.max(0, size - Number(last)) : Number(first);
  const end = first === '' || last === '' ? size : Math.min(size, Number(last) + 1);
  return start < end ? { start, end } : 'unsatisfiable';
}
