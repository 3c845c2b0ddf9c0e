// An engine that says when it works: for whoever keeps the machine awake meanwhile.

import type { Engine } from './types.js';

/** `begin` is called when an answer begins, and what it returns when that ended, failed or was given up. */
export function watchEngine(engine: Engine, begin: () => () => void): Engine {
  async function* watched<T>(events: AsyncIterable<T>): AsyncGenerator<T> {
    const end = begin();
    try {
      yield* events;
    } finally {
      end();
    }
  }
  return new Proxy(engine, {
    get(target, name) {
      if (name === 'prepare') {
        return async (...asked: Parameters<Engine['prepare']>) => {
          const prepared = await target.prepare(...asked);
          return {
            ...prepared,
            answer: (...which: Parameters<typeof prepared.answer>) =>
              watched(prepared.answer(...which)),
          };
        };
      }
      if (name === 'chat' || name === 'continueTokens') {
        const answer = target[name].bind(target) as (...args: unknown[]) => AsyncIterable<unknown>;
        return (...args: unknown[]) => watched(answer(...args));
      }
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
}
