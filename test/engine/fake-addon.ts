// A native addon without a model, for what is pure orchestration: which tokens are in which state when.
// Its "logits" are a function of all tokens in the state, so a wrong state says wrong words.

import { createHash } from 'node:crypto';
import type {
  EngineInfo,
  EngineOptions,
  NativeAddon,
  NativeJob,
  NativeSession,
  SamplingParams,
  StepStats,
} from '../../src/addon/types.js';

/** What the model says next; undefined: a pseudo-random id that depends on the whole state. */
export type NextToken = (state: readonly number[]) => number | undefined;

export class FakeSession implements NativeSession {
  state: number[] = [];
  seeds: number[] = [];
  sampled: SamplingParams[] = [];
  prefills: number[][] = [];
  resets = 0;
  forks: FakeSession[] = [];
  closed = false;
  /** Set to make the next step wait or fail. */
  beforeStep: ((cancelled: Promise<void>) => Promise<void>) | null = null;

  /** Lengths that can be gone back to, and whether logits are there: a state that is recurrent. */
  readonly #marks = new Map<number, boolean>();
  #hasLogits = false;
  /** A decode failed half way. */
  #isLost = false;

  constructor(private readonly next: NextToken) {}

  length(): number {
    return this.state.length;
  }

  prefill(
    tokens: Int32Array,
    onProgress: (done: number, total: number) => void,
    marks = new Uint32Array(),
  ): NativeJob<StepStats> {
    this.prefills.push([...tokens]);
    onProgress(1, tokens.length);
    this.#usable();
    return this.#step([...tokens], 1, marks);
  }

  decode(token: number): NativeJob<StepStats> {
    this.#usable();
    return this.#step([token], 0.25);
  }

  sample(params: SamplingParams): number {
    this.#usable();
    if (!this.#hasLogits) throw Object.assign(new Error('no logits'), { code: 'ERR_ENGINE' });
    this.sampled.push(params);
    const hash = createHash('sha256').update(this.state.join()).digest();
    return this.next(this.state) ?? hash.readUInt32LE(0) % 470;
  }

  seed(seed: number): void {
    this.seeds.push(seed);
  }

  reset(): void {
    this.resets++;
    this.state = [];
    this.#marks.clear();
    this.#isLost = false;
    this.#hasLogits = false;
  }

  mark(): void {
    this.#marks.set(this.state.length, this.#hasLogits);
  }

  reachable(limit: number): number {
    if (!this.#isLost && this.state.length <= limit) return this.state.length;
    return Math.max(0, ...[...this.#marks.keys()].filter((length) => length <= limit));
  }

  rewind(length: number): void {
    if (length === this.state.length && !this.#isLost) return;
    if (length === 0) return this.reset();
    const hasLogits = this.#marks.get(length);
    if (hasLogits === undefined) throw new Error(`no mark at ${length}`);
    this.state.length = length;
    this.#hasLogits = hasLogits;
    this.#isLost = false;
    for (const mark of this.#marks.keys()) if (mark > length) this.#marks.delete(mark);
  }

  close(): void {
    this.closed = true;
  }

  /** 0 for all ids but two. */
  logits(): Float32Array {
    return new Float32Array(512).fill(2, 3, 4).fill(1, 9, 10);
  }
  evaluate(): never {
    throw new Error('not asked of this session');
  }
  fork(): FakeSession {
    const copy = new FakeSession(this.next);
    copy.state = [...this.state];
    this.forks.push(copy);
    return copy;
  }
  save(): never {
    throw new Error('not asked of this session');
  }
  restore(): never {
    throw new Error('not asked of this session');
  }

  #usable(): void {
    if (this.#isLost) throw Object.assign(new Error('lost'), { code: 'ERR_ENGINE' });
  }

  #step(tokens: number[], seconds: number, marks = new Uint32Array()): NativeJob<StepStats> {
    let cancel = (): void => undefined;
    const cancelled = new Promise<void>((resolve) => (cancel = resolve));
    let isCancelled = false;
    void cancelled.then(() => (isCancelled = true));
    const run = async (): Promise<StepStats> => {
      const before = this.state;
      // Half a step: nobody may look at it.
      this.state = [...before, ...tokens.slice(0, 1), -1];
      try {
        await this.beforeStep?.(cancelled);
        await Promise.resolve();
        if (isCancelled) throw Object.assign(new Error('cancelled'), { code: 'ERR_INTERRUPTED' });
      } catch (error) {
        this.state = before;
        // As the native session: a chunk of a prompt is rolled back, a single token can't be.
        this.#isLost = seconds < 1;
        throw error;
      }
      this.state = [...before, ...tokens];
      this.#hasLogits = true;
      const { length } = tokens;
      for (const mark of marks) {
        if (mark > before.length && mark <= this.state.length) this.#marks.set(mark, false);
      }
      return {
        tokens: length,
        seconds,
        expertBytesRead: 100 * length,
        expertReads: 1,
        expertUses: 1,
        expertHits: 0,
        expertWaits: 0,
        expertBytesUsed: 100 * length,
        ioSeconds: 0,
        deviceWaits: 0,
        deviceWaitSeconds: 0,
        deviceSeconds: 0,
      };
    };
    return { done: run(), cancel };
  }
}

export function fakeAddon(
  session: FakeSession,
  { maxPositions = 4096, memoryFor = Infinity } = {},
): Pick<NativeAddon, 'openEngine' | 'metalDevice'> & { opened: EngineOptions[]; closed: number } {
  const info: EngineInfo = {
    backend: 'fake',
    isa: 'none',
    vocabSize: 512,
    maxPositions,
    layers: 1,
    expertsPerToken: 4,
    denseBytes: 1,
    expertBytesPerToken: 2,
    stateBytes: 3,
    kvBytesPerToken: 4,
    expertFileBytes: 0,
    largestExpertBytes: 0,
    expertPoolBytes: 0,
    expertsHeld: 0,
    expertsMapped: false,
    prefillTokens: 1024,
    prefillBytesPerToken: 1,
  };
  const addon = {
    opened: [] as EngineOptions[],
    closed: 0,
    metalDevice: () => ({ device: null, reason: 'a fake has none' }),
    openEngine(options: EngineOptions) {
      addon.opened.push(options);
      const engine = {
        info: () => info,
        stateKey: () => '0123456789abcdef',
        observe: () => undefined,
        squares: () => null,
        resizeExperts: () => ({ done: Promise.resolve(), cancel: () => undefined }),
        saveHottest: () => undefined,
        warm: () => undefined,
        createSession: (maxTokens: number) => {
          if (maxTokens <= memoryFor) return session;
          throw Object.assign(new Error(`${maxTokens} tokens`), { code: 'ERR_CONTEXT' });
        },
        close: () => void addon.closed++,
      };
      return { done: Promise.resolve(engine), cancel: () => undefined };
    },
  };
  return addon;
}
