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

/** One answer's news. */
export class RunningAnswer {
  readonly state: Running;
  lastToken: number | null = null;

  constructor(
    private readonly activity: Activity,
    since: number,
  ) {
    this.state = {
      phase: 'prefill',
      ...{ promptDone: 0, promptTotal: 0, tokens: 0 },
      ...{ since, decodingSince: null },
    };
  }

  prefill({ done, total }: { done: number; total: number }): void {
    Object.assign(this.state, { phase: 'prefill', promptDone: done, promptTotal: total });
  }

  token(): void {
    this.activity.token(this);
  }

  end(): void {
    this.activity.end(this);
  }
}

export class Activity {
  /** Oldest first. */
  readonly #running: RunningAnswer[] = [];
  readonly #buckets: Bucket[] = [];

  constructor(private readonly now: () => number) {}

  /** Of several answers the one that began first; null when nothing is answered. */
  get running(): Running | null {
    return this.#running[0]?.state ?? null;
  }

  begin(): RunningAnswer {
    const answer = new RunningAnswer(this, this.now());
    this.#running.push(answer);
    return answer;
  }

  token(answer: RunningAnswer): void {
    const now = this.now();
    const { state } = answer;
    state.phase = 'decode';
    state.decodingSince ??= now;
    state.tokens++;
    const bucket = this.#bucket(now);
    bucket.tokens++;
    // The first token comes out of the prefill: it took no decoding.
    if (answer.lastToken !== null) bucket.decodingMs += now - answer.lastToken;
    answer.lastToken = now;
  }

  end(answer: RunningAnswer): void {
    this.#running.splice(this.#running.indexOf(answer), 1);
  }

  /** Of the running answer; 0 before its second token. */
  tokensPerSecond(): number {
    const [answer] = this.#running;
    const since = answer?.state.decodingSince ?? null;
    if (answer === undefined || since === null || answer.lastToken === null) return 0;
    const seconds = (answer.lastToken - since) / 1000;
    return seconds > 0 ? (answer.state.tokens - 1) / seconds : 0;
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
