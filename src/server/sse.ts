// Server-sent events: one `data:` line an event, comments while nothing happens. A model that reads a
// long prompt is silent for minutes, and clients and proxies hang up on silence.

import { timer } from './timer.js';

/** Bytes that wait for a client that doesn't read: more than any answer that a model gives. */
const MOST_WAITING = 1 << 20;

export interface StreamOptions {
  everyMs: number;
  comment: () => string;
  /** Milliseconds that a client with a full buffer may take to read from it; then its answer is given up. */
  stallMs: number;
  headers?: Record<string, string>;
}

/**
 * A stream of `events`, which are made as fast as they come, not as fast as they are read: an engine doesn't
 * wait for a client, up to a limit. A client that leaves ends the iterator.
 */
export function eventStream(
  events: AsyncIterable<string>,
  { everyMs, comment, stallMs, headers = {} }: StreamOptions,
): Response {
  const text = withKeepAlive(events, { everyMs, comment });
  const encoder = new TextEncoder();
  let isOver = false;
  let onRead = (): void => undefined;
  const pump = async (controller: ReadableStreamDefaultController<Uint8Array>): Promise<void> => {
    for await (const piece of text) {
      if (isOver) return;
      if (piece !== '') controller.enqueue(encoder.encode(piece));
      if ((controller.desiredSize ?? 0) > 0) continue;
      const stall = timer(stallMs);
      const read = new Promise<true>((resolve) => (onRead = () => resolve(true)));
      const first = await Promise.race([read, stall.over]).finally(stall.clear);
      if (first === true || isOver) continue;
      controller.error(new Error('the client did not read'));
      return;
    }
    if (!isOver) controller.close();
  };
  const body = new ReadableStream<Uint8Array>(
    {
      start(controller) {
        pump(controller).catch((error: unknown) => {
          if (!isOver) controller.error(error);
        });
      },
      pull() {
        onRead();
      },
      cancel() {
        isOver = true;
        onRead();
      },
    },
    new ByteLengthQueuingStrategy({ highWaterMark: MOST_WAITING }),
  );
  return new Response(body, {
    headers: {
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-cache',
      // nginx and what imitates it would collect events otherwise
      'x-accel-buffering': 'no',
      ...headers,
    },
  });
}

/** `data` is JSON, so it holds no line breaks of its own. */
export function dataEvent(data: unknown): string {
  return `data: ${JSON.stringify(data)}\n\n`;
}

/** The same with the event's name on a line of its own, where a dialect wants it. */
export function namedEvent(data: { type: string; [member: string]: unknown }): string {
  return `event: ${data.type}\n${dataEvent(data)}`;
}

export const DONE = 'data: [DONE]\n\n';

async function* withKeepAlive(
  events: AsyncIterable<string>,
  { everyMs, comment }: { everyMs: number; comment: () => string },
): AsyncGenerator<string, void, undefined> {
  const iterator = events[Symbol.asyncIterator]();
  try {
    for (;;) {
      const next = iterator.next();
      for (;;) {
        const silence = timer(everyMs);
        const first = await Promise.race([next, silence.over]).finally(silence.clear);
        if (first === undefined) {
          yield comment();
          continue;
        }
        if (first.done === true) return;
        yield first.value;
        break;
      }
    }
  } finally {
    // Not awaited: the generation is being aborted by its signal and may take a token to notice.
    void iterator.return?.()?.catch(() => undefined);
  }
}
