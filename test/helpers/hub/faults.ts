// What can go wrong between a hub and a disk, one function each. See FaultHub for how they are scripted.

import { gzipSync } from 'node:zlib';
import type { OutgoingHttpHeaders } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { without, type Fault } from './fault-hub.js';

/** The connection is reset after `bytes` of the body. */
export const resetAfter =
  (bytes: number): Fault =>
  async ({ response, status, headers, body }) => {
    response.writeHead(status, headers);
    await new Promise<void>((resolve) => response.write(body.subarray(0, bytes), () => resolve()));
    response.destroy();
  };

/** The body ends after `bytes` as if that were all, so that exactly these arrive. */
export const endAfter = (bytes: number): Fault => chunked((body) => body.subarray(0, bytes));

/** The connection is reset before any header. */
export const resetAtOnce: Fault = ({ response }) => {
  response.socket?.resetAndDestroy();
};

/** `bytes` of the body, then silence with the connection open. */
export const stallAfter =
  (bytes: number): Fault =>
  ({ response, status, headers, body }) => {
    response.writeHead(status, headers);
    response.write(body.subarray(0, bytes));
  };

/** The request is taken and never answered. */
export const silent: Fault = () => undefined;

/** `bytes` every `everyMs` until the client has enough. */
export const drip =
  (bytes: number, everyMs: number): Fault =>
  async ({ response, status, headers, body }) => {
    response.writeHead(status, headers);
    for (let at = 0; at < body.length && !response.destroyed; at += bytes) {
      response.write(body.subarray(at, at + bytes));
      await sleep(everyMs);
    }
    response.end();
  };

/** A 200 with the whole file, whatever range was asked for. */
export const ignoreRange: Fault = async ({ upstream, send }) => {
  send(await upstream({ range: null }));
};

/** The right bytes under other headers (undefined removes one). */
export const withHeaders =
  (changes: OutgoingHttpHeaders): Fault =>
  ({ headers, send }) => {
    const removed = Object.keys(changes).filter((name) => changes[name] === undefined);
    send({ headers: without({ ...headers, ...changes }, ...removed) });
  };

/** Another answer altogether. */
export const answer =
  (status: number, headers: OutgoingHttpHeaders = {}, body = ''): Fault =>
  ({ send }) => {
    const content = Buffer.from(body);
    send({ status, headers: { ...headers, 'content-length': content.length }, body: content });
  };

/** The error of an object store for an address that has had its time. */
export const expired = answer(
  403,
  { 'content-type': 'application/xml' },
  '<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>',
);

/** The page of a network that wants a login first. */
export const loginPage = answer(
  200,
  { 'content-type': 'text/html; charset=utf-8' },
  '<!DOCTYPE html><html><body>Welcome to the hotel network</body></html>',
);

/** The body of another length, sent chunked so that no Content-Length tells. */
export const chunked =
  (change: (body: Buffer) => Buffer): Fault =>
  ({ headers, body, send }) => {
    send({ headers: without(headers, 'content-length'), body: change(body) });
  };

/** One bit of the body flipped; size and headers are right. */
export const flipByte =
  (at: number): Fault =>
  ({ body, send }) => {
    body.writeUInt8(body.readUInt8(at) ^ 1, at);
    send();
  };

/** The whole body as other bytes of the same length. */
export const lfsPointer: Fault = ({ request, send }) => {
  const body = Buffer.from(
    `version https://git-lfs.github.com/spec/v1\noid sha256:${'0'.repeat(64)}\nsize ${request.path.length}\n`,
  );
  send({ status: 200, headers: { 'content-length': body.length }, body });
};

/** Compressed although identity was asked for, chunked, without a length. */
export const gzipped: Fault = async ({ upstream, send }) => {
  const whole = await upstream({ range: null });
  const headers = without(whole.headers, 'content-length');
  send({
    ...whole,
    headers: { ...headers, 'content-encoding': 'gzip' },
    body: gzipSync(whole.body),
  });
};

/** A JSON answer changed in place. */
export const rewriteJson =
  (change: (value: unknown) => unknown): Fault =>
  ({ headers, body, send }) => {
    const changed = Buffer.from(JSON.stringify(change(JSON.parse(body.toString()))));
    send({ headers: { ...headers, 'content-length': changed.length }, body: changed });
  };
