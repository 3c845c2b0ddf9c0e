import type { ServerContext } from '../context.js';
import { expertsOf } from './status.js';

export function metrics(context: ServerContext): Response {
  const { metrics: counted, queue, host } = context;
  const ready = host.unavailable() === null;
  const text = counted.text({ queue: queue.length, ready, experts: expertsOf(context) });
  return new Response(text, {
    headers: { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' },
  });
}
