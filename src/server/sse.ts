// Server-sent events: one `data:` line an event, comments while nothing happens. A model that reads a
// long prompt is silent for minutes, and clients and proxies hang up on silence.

/** An event stream that pulls from `events`; a client that leaves ends the iterator. */
export function eventStream(
  events: AsyncIterable<string>,
  keepAlive: { everyMs: number; comment: () => string },
): Response {
  const text = withKeepAlive(events, keepAlive);
  const encoder = new TextEncoder();
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      const { done, value } = await text.next();
      if (done === true) controller.close();
      else controller.enqueue(encoder.encode(value));
    },
    async cancel() {
      await text.return(undefined);
    },
  });
  return new Response(body, {
    headers: {
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-cache',
      // nginx and what imitates it would collect events otherwise
      'x-accel-buffering': 'no',
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

function timer(ms: number): { over: Promise<undefined>; clear: () => void } {
  let handle: NodeJS.Timeout | undefined;
  const over = new Promise<undefined>((resolve) => {
    handle = setTimeout(() => resolve(undefined), ms);
  });
  return { over, clear: () => clearTimeout(handle) };
}
