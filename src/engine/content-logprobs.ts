// Which tokens' probabilities belong to which piece of the content, so that the tokens told of join to exactly
// the content: whitespace that was dropped before it, marks and the end of the turn are in no token that is told.

import type { TokenLogprob } from './types.js';

interface Pending {
  logprob: TokenLogprob;
  /** Of its bytes: how many are passed on or dropped, and which of them were passed on. */
  read: number;
  passed: number[];
}

export class ContentLogprobs {
  #pending: Pending[] = [];

  add(logprob: TokenLogprob): void {
    this.#pending.push({ logprob, read: 0, passed: [] });
  }

  /** The content goes on with `text`; returns the tokens that are passed on whole with it. */
  pass(text: string): TokenLogprob[] {
    const wanted = Buffer.from(text, 'utf8');
    const held = this.#pending.map(({ logprob, read }) =>
      Buffer.from(logprob.bytes).subarray(read),
    );
    // What stands before it in the tokens was dropped.
    const start = Math.max(0, Buffer.concat(held).indexOf(wanted));
    const end = start + wanted.length;
    const done: TokenLogprob[] = [];
    let at = 0;
    for (const entry of [...this.#pending]) {
      if (at >= end) break;
      const { bytes } = entry.logprob;
      for (; entry.read < bytes.length && at < end; entry.read++, at++) {
        if (at >= start) entry.passed.push(bytes[entry.read] ?? 0);
      }
      if (entry.read < bytes.length) break;
      this.#pending.shift();
      done.push(...told(entry));
    }
    return done;
  }

  /** Nothing of what is held will be passed on; returns the token of which a part was. */
  drop(): TokenLogprob[] {
    const rest = this.#pending.flatMap(told);
    this.#pending = [];
    return rest;
  }
}

/** The token as far as it is in the content. */
function told({ logprob, passed }: Pending): TokenLogprob[] {
  if (passed.length === 0) return [];
  if (passed.length === logprob.bytes.length) return [logprob];
  return [{ ...logprob, bytes: passed, text: Buffer.from(passed).toString('utf8') }];
}
