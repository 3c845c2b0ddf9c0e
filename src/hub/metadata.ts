// Small answers read whole: retried, capped, decoded.

import type { IncomingHttpHeaders } from 'node:http';
import { FlashmoeError } from '../base/errors.js';
import { decodedBody } from './content-encoding.js';
import type { HttpAnswer } from './http.js';
import type { HubOrigin, HubRequest } from './origin.js';
import { withRetries, type RetryPolicy } from './retry.js';
import type { HubTask } from './types.js';

/** One GET of the Hub's API with `read` inside the retry, so that a body that breaks off is asked for again. */
export function hubGet(
  origin: HubOrigin,
  request: HubRequest,
  policy: RetryPolicy,
  task: HubTask,
  read: (answer: HttpAnswer) => Promise<Buffer>,
): Promise<{ headers: IncomingHttpHeaders; body: Buffer }> {
  return withRetries(request.asked.path ?? request.asked.repo, policy, task, async () => {
    const { answer } = await origin.get(request, task);
    try {
      return { headers: answer.headers, body: await read(answer) };
    } finally {
      answer.discard();
    }
  });
}

/** The body as one buffer of at most `maxBytes` decoded bytes, else ERR_REMOTE_CONTENT. */
export async function readAll(
  answer: HttpAnswer,
  maxBytes: number,
  subject: string,
): Promise<Buffer> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of decodedBody(answer, subject)) {
    bytes += chunk.length;
    if (bytes > maxBytes) {
      throw new FlashmoeError(
        'ERR_REMOTE_CONTENT',
        `${subject}: the answer is longer than ${maxBytes} bytes and was refused`,
        { subject },
      );
    }
    parts.push(chunk);
  }
  return Buffer.concat(parts);
}
