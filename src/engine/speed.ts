// How fast an engine reads a prompt and goes on from it, and where the experts' bytes came from. Random text will do:
// speed doesn't depend on what tokens say, and a prompt that repeated itself would route to few experts.

import { runJob } from '../addon/load.js';
import type { NativeEngine, SamplingParams } from '../addon/types.js';

export interface SpeedOptions {
  native: NativeEngine;
  /** Tokens of the prompt, and tokens that follow; at least 1 of each. */
  prompt: number;
  decode: number;
  /** Bytes the kernel fetched from disks for this process so far; null where it doesn't say. */
  diskBytes: () => number | null;
  /** Milliseconds. */
  monotonic: () => number;
  signal: AbortSignal;
  onProgress?: (phase: 'prefill' | 'decode', done: number, total: number) => void;
}

/** Of one pass. Rates are tokens a second; bytes of decoding are a token's. */
export interface Speed {
  prefillRate: number;
  decodeRate: number;
  /** Of experts, computed with: from the disk, the page cache or memory; a use of what stays counts as the largest expert. */
  prefillExpertBytes: number;
  decodeExpertBytes: number;
  prefillDiskBytes: number | null;
  decodeDiskBytes: number | null;
  /** Share of decoding's expert bytes that came from no disk. */
  hitRate: number | null;
  /** Share of decoding that stood still for experts. */
  waitShare: number;
  /** Of decoding: waits for the GPU a token, the share of time they took, and that in which the GPU was at work; 0 on the CPU. */
  deviceWaitsPerToken: number;
  deviceWaitShare: number;
  deviceBusyShare: number;
  /** Experts that were in memory already, of those asked for. */
  prefillExpertHits: number;
  decodeExpertHits: number;
  /** Bytes of a token's experts that were read, from disk or page cache, and how often a token waited for one. */
  decodeReadBytes: number;
  decodeWaits: number;
}

const GREEDY: SamplingParams = {
  temperature: 0,
  topP: 1,
  topK: 0,
  minP: 0,
  allowed: null,
  bias: null,
};

/** One prompt and its continuation in a session of their own. Throws ERR_CONTEXT when memory has no room for it. */
export async function measureSpeed(options: SpeedOptions): Promise<Speed> {
  const { native, prompt, decode, diskBytes, monotonic, signal, onProgress } = options;
  const session = native.createSession(prompt + decode);
  try {
    const before = diskBytes();
    const tokens = spreadTokens(prompt, native.info().vocabSize);
    const read = await runJob(
      session.prefill(tokens, (done, total) => onProgress?.('prefill', done, total)),
      signal,
    );
    const between = diskBytes();
    const started = monotonic();
    let [expertBytes, waited] = [0, 0];
    const device = { waits: 0, waited: 0, busy: 0 };
    let [uses, hits, readBytes, waits] = [0, 0, 0, 0];
    for (let done = 1; done <= decode; done++) {
      const step = await runJob(session.decode(session.sample(GREEDY)), signal);
      expertBytes += step.expertBytesUsed;
      waited += step.ioSeconds;
      device.waits += step.deviceWaits;
      device.waited += step.deviceWaitSeconds;
      device.busy += step.deviceSeconds;
      uses += step.expertUses;
      hits += step.expertHits;
      readBytes += step.expertBytesRead;
      waits += step.expertWaits;
      onProgress?.('decode', done, decode);
    }
    const seconds = (monotonic() - started) / 1000;
    const fetched = difference(between, diskBytes());
    return {
      prefillRate: prompt / read.seconds,
      decodeRate: decode / seconds,
      prefillExpertBytes: read.expertBytesUsed,
      decodeExpertBytes: expertBytes / decode,
      prefillDiskBytes: difference(before, between),
      decodeDiskBytes: fetched === null ? null : fetched / decode,
      // The kernel fetches ahead, so more may come from the disk than was asked for.
      hitRate:
        fetched === null || expertBytes === 0 ? null : Math.max(0, 1 - fetched / expertBytes),
      waitShare: waited / seconds,
      deviceWaitsPerToken: device.waits / decode,
      deviceWaitShare: device.waited / seconds,
      deviceBusyShare: device.busy / seconds,
      prefillExpertHits: share(read.expertHits, read.expertUses),
      decodeExpertHits: share(hits, uses),
      decodeReadBytes: readBytes / decode,
      decodeWaits: waits / decode,
    };
  } finally {
    session.close();
  }
}

/** A model without experts misses none. */
function share(part: number, whole: number): number {
  return whole === 0 ? 1 : part / whole;
}

/** Ids spread over the vocabulary, the same in every run; the ids of control tokens at its ends are left out. */
export function spreadTokens(count: number, vocabSize: number): Int32Array {
  const first = Math.min(1000, vocabSize >> 2);
  const range = Math.max(1, Math.floor((vocabSize - first) * 0.8));
  return Int32Array.from({ length: count }, (_, index) => first + ((index * 7919) % range));
}

function difference(from: number | null, to: number | null): number | null {
  return from === null || to === null ? null : to - from;
}
