import type { ServerContext } from '../context.js';

export function metrics({ metrics: counted, queue, host }: ServerContext): Response {
  const text = counted.text({ queue: queue.length, ready: host.unavailable() === null });
  return new Response(text, {
    headers: { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' },
  });
}
