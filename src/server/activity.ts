// What the server does now and did lately, for the page at `/`: numbers only, never what was said.

/** Milliseconds of one bar of the page's chart, and how many bars there are. */
export const BUCKET_MS = 10_000;
const BUCKETS = 60;

export interface Running {
  phase: 'prefill' | 'decode';
  /** Tokens of the prompt read so far, and all of them. */
  promptDone: number;
  promptTotal: number;
  /** Tokens of the answer. */
  tokens: number;
  /** Milliseconds since the epoch: when it began, and when its first token was there. */
  since: number;
  decodingSince: number | null;
}

export interface Bucket {
  /** Milliseconds since the epoch. */
  since: number;
  tokens: number;
  /** Milliseconds of it in which tokens were made. */
  decodingMs: number;
}

export class Activity {
  /** Null when nothing is answered. */
  running: Running | null = null;
  readonly #buckets: Bucket[] = [];
  #lastToken: number | null = null;

  constructor(private readonly now: () => number) {}

  begin(): void {
    const since = this.now();
    this.#lastToken = null;
    this.running = {
      phase: 'prefill',
      ...{ promptDone: 0, promptTotal: 0, tokens: 0 },
      ...{ since, decodingSince: null },
    };
  }

  prefill({ done, total }: { done: number; total: number }): void {
    if (this.running === null) return;
    Object.assign(this.running, { phase: 'prefill', promptDone: done, promptTotal: total });
  }

  token(): void {
    const now = this.now();
    const { running } = this;
    if (running !== null) {
      running.phase = 'decode';
      running.decodingSince ??= now;
      running.tokens++;
    }
    const bucket = this.#bucket(now);
    bucket.tokens++;
    // The first token comes out of the prefill: it took no decoding.
    if (this.#lastToken !== null) bucket.decodingMs += now - this.#lastToken;
    this.#lastToken = now;
  }

  end(): void {
    this.running = null;
    this.#lastToken = null;
  }

  /** Of the running answer; 0 before its second token. */
  tokensPerSecond(): number {
    const { running } = this;
    if (running === null || running.decodingSince === null || this.#lastToken === null) return 0;
    const seconds = (this.#lastToken - running.decodingSince) / 1000;
    return seconds > 0 ? (running.tokens - 1) / seconds : 0;
  }

  /** Oldest first, those of the last ten minutes in which a token was made. */
  lately(): readonly Bucket[] {
    const oldest = this.now() - BUCKET_MS * BUCKETS;
    return this.#buckets.filter(({ since }) => since > oldest);
  }

  #bucket(now: number): Bucket {
    const since = now - (now % BUCKET_MS);
    const last = this.#buckets.at(-1);
    if (last?.since === since) return last;
    const bucket = { since, tokens: 0, decodingMs: 0 };
    this.#buckets.push(bucket);
    if (this.#buckets.length > BUCKETS) this.#buckets.shift();
    return bucket;
  }
}
