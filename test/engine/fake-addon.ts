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

  constructor(private readonly next: NextToken) {}

  length(): number {
    return this.state.length;
  }

  prefill(
    tokens: Int32Array,
    onProgress: (done: number, total: number) => void,
  ): NativeJob<StepStats> {
    this.prefills.push([...tokens]);
    onProgress(1, tokens.length);
    return this.#step([...tokens], 1);
  }

  decode(token: number): NativeJob<StepStats> {
    return this.#step([token], 0.25);
  }

  sample(params: SamplingParams): number {
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

  #step(tokens: number[], seconds: number): NativeJob<StepStats> {
    let cancel = (): void => undefined;
    const cancelled = new Promise<void>((resolve) => (cancel = resolve));
    let isCancelled = false;
    void cancelled.then(() => (isCancelled = true));
    const run = async (): Promise<StepStats> => {
      // Half a step: what a cancelled or failed one leaves behind is no state of any prompt.
      this.state.push(...tokens.slice(0, 1), -1);
      await this.beforeStep?.(cancelled);
      await Promise.resolve();
      if (isCancelled) throw Object.assign(new Error('cancelled'), { code: 'ERR_INTERRUPTED' });
      this.state.splice(-2, 2, ...tokens);
      const { length } = tokens;
      return {
        tokens: length,
        seconds,
        expertBytesRead: 100 * length,
        expertReads: 1,
        ioSeconds: 0,
      };
    };
    return { done: run(), cancel };
  }
}

export function fakeAddon(
  session: FakeSession,
  { maxPositions = 4096, memoryFor = Infinity } = {},
): Pick<NativeAddon, 'openEngine'> & { opened: EngineOptions[]; closed: number } {
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
  };
  const addon = {
    opened: [] as EngineOptions[],
    closed: 0,
    openEngine(options: EngineOptions) {
      addon.opened.push(options);
      const engine = {
        info: () => info,
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
