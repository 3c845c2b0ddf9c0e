// `Accept-Encoding: identity` is sent, but proxies compress all the same. A whole body can be decoded;
// a range of an encoded body means nothing and is refused by the caller.

import { Readable } from 'node:stream';
import { createBrotliDecompress, createGunzip, createInflate } from 'node:zlib';
import { FlashmoeError } from '../base/errors.js';
import type { HttpAnswer } from './http.js';
import { Transient } from './retry.js';

export function isEncoded({ headers }: HttpAnswer): boolean {
  const encoding = headers['content-encoding']?.trim().toLowerCase() ?? 'identity';
  return encoding !== 'identity' && encoding !== '';
}

/** The body's bytes as the file has them. Streams; an encoding nobody asked for and nobody knows is refused. */
export function decodedBody(
  answer: HttpAnswer,
  subject: string,
): AsyncGenerator<Buffer, void, void> {
  if (!isEncoded(answer)) return answer.body;
  const encoding = answer.headers['content-encoding']?.trim().toLowerCase() ?? '';
  const decoder =
    encoding === 'gzip' || encoding === 'x-gzip'
      ? createGunzip()
      : encoding === 'br'
        ? createBrotliDecompress()
        : encoding === 'deflate'
          ? createInflate()
          : null;
  if (decoder === null) {
    throw new FlashmoeError(
      'ERR_REMOTE_CONTENT',
      `${subject}: the server encoded the file as ${JSON.stringify(encoding.slice(0, 40))}; nothing was written`,
      { subject },
    );
  }
  return decoded(answer, decoder, subject);
}

async function* decoded(
  answer: HttpAnswer,
  decoder: ReturnType<typeof createGunzip>,
  subject: string,
): AsyncGenerator<Buffer, void, void> {
  const source = Readable.from(answer.body, { objectMode: false });
  source.once('error', (error) => decoder.destroy(error));
  try {
    for await (const chunk of source.pipe(decoder)) yield chunk as Buffer;
  } catch (error) {
    if (error instanceof Transient || error instanceof FlashmoeError) throw error;
    throw new Transient(
      new FlashmoeError('ERR_NETWORK', `${subject}: the compressed answer was damaged`, {
        subject,
      }),
    );
  } finally {
    source.destroy();
    decoder.destroy();
  }
}
