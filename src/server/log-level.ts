// How much an event of the server matters to whoever reads its log.

import type { ServerEvent } from './context.js';

/** Each tells what those before it tell, too. */
export const LOG_LEVELS = ['error', 'warn', 'info', 'debug'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export function levelOf(event: ServerEvent): LogLevel {
  switch (event.type) {
    case 'error':
      return 'error';
    case 'model':
      return event.status === 'failed' ? 'error' : 'info';
    case 'request':
      // The page asks once a second, with its key or before it has one.
      if (event.path === '/status' && event.status < 500) return 'debug';
      if (event.status >= 500) return 'error';
      if (event.status >= 400) return 'warn';
      return event.method === 'POST' ? 'info' : 'debug';
    case 'unknown-field':
      return 'warn';
    case 'judged':
      return event.verdict === 'failed' ? 'warn' : 'info';
    case 'listening':
    case 'generation':
      return 'info';
  }
}

export function isTold(event: ServerEvent, level: LogLevel): boolean {
  return LOG_LEVELS.indexOf(levelOf(event)) <= LOG_LEVELS.indexOf(level);
}
