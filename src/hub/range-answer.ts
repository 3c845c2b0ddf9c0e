// Is this answer the bytes that were asked for? Pure: status and headers in, a verdict out.

import type { ByteRange } from './range-plan.js';

export interface RangeAnswer {
  status: number;
  contentRange: string | undefined;
  contentLength: string | undefined;
  /** A Content-Encoding other than identity. */
  encoded: boolean;
}

export type Verdict =
  | { use: 'range' }
  /** A 200 with the whole file; its first byte is the file's. */
  | { use: 'whole' }
  | { use: 'nothing'; kind: 'ignored' | 'wrong'; reason: string };

/** Judges the answer to a request for `asked` out of a file of `total` bytes. */
export function judgeRangeAnswer(asked: ByteRange, total: number, answer: RangeAnswer): Verdict {
  const { status, contentRange, contentLength, encoded } = answer;
  if (status === 206) {
    const want = `bytes ${asked.start}-${asked.end - 1}/${total}`;
    const got = contentRange?.trim().replace(/\s+/g, ' ') ?? 'no Content-Range';
    if (encoded) return wrong('a range of a compressed body was sent');
    // A server that streams need not know how long the whole is.
    const isRight = got === want || got === `bytes ${asked.start}-${asked.end - 1}/*`;
    return isRight ? { use: 'range' } : wrong(`asked for ${want}, got ${got}`);
  }
  if (status !== 200) return wrong(`status ${status} is no answer to a range request`);
  if (asked.start !== 0) {
    return { use: 'nothing', kind: 'ignored', reason: `the range from ${asked.start} was ignored` };
  }
  const lengthCounts = !encoded && contentLength !== undefined;
  if (lengthCounts && Number(contentLength) !== total) {
    return wrong(`the listing says ${total} bytes, the server ${contentLength}`);
  }
  return { use: 'whole' };
}

function wrong(reason: string): Verdict {
  return { use: 'nothing', kind: 'wrong', reason };
}
