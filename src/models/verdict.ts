// What a model would be like on a machine, from numbers alone. An estimate before the fact: the plan counts bytes
// exactly, and a measured run decides about speed.

import { formatBinaryBytes, formatBytes } from '../base/format.js';
import type { CatalogEntry } from './catalog.js';
import type { OfferedQuant } from './quant.js';

export interface MachineFacts {
  memoryBytes: number;
  /** On the volume of the models folder; null when unknown or when the model is installed already. */
  freeBytes: number | null;
  /** Uncached reads of expert size; null when nobody measured. */
  readBytesPerSecond: number | null;
}

export interface ModelEstimate {
  finalBytes: number;
  /** Most bytes on disk during setup. */
  peakBytes: number;
  /** Dense weights, state, a working context and the engine's own buffers. */
  memoryBytes: number;
  /** Routed experts of one token, nothing cached. */
  bytesPerToken: number;
}

export interface Verdict {
  /** good: worth it. slow: runs, mind the speed or the memory. no: can't. small: fits in memory whole. */
  level: 'good' | 'slow' | 'no' | 'small';
  text: string;
  /** null when the disk was not measured or the model can't run. */
  tokensPerSecond: { low: number; high: number } | null;
}

/** Tokens that an agent's prompt easily has. */
const WORKING_CONTEXT = 16_384;
/** Node, tokenizer, activations and read buffers. */
const ENGINE_BYTES = 1.5 * 1024 ** 3;
/** What the system and a browser keep for themselves. */
const SYSTEM_BYTES = 3 * 1024 ** 3;
/** Of the disk's own rate, what measured systems of this kind reach at worst. */
const LEAST_EFFICIENCY = 0.5;
/** Even a large cache misses: experts of rare tokens. */
const LEAST_MISSES = 0.25;
const SLOW_TOKENS_PER_SECOND = 1;
/** Where several shards are on disk at a time: a layer's experts may lie in two. */
const SHARDS_HELD = 2;
/** Free space that should remain. */
const DISK_MARGIN = 1.02;

export function estimate(entry: CatalogEntry, quant: OfferedQuant): ModelEstimate {
  const expertBytes = entry.expertBytes[quant];
  const finalBytes =
    entry.denseBytes +
    (entry.tableBytes ?? 0) +
    entry.routedLayers * entry.experts * expertBytes;
  const held = Math.min(SHARDS_HELD, entry.shards) * entry.largestShardBytes;
  const context = Math.min(WORKING_CONTEXT, entry.contextLength);
  return {
    finalBytes,
    peakBytes: finalBytes + held,
    memoryBytes:
      entry.residentBytes + entry.stateBytes + context * entry.kvBytesPerToken + ENGINE_BYTES,
    bytesPerToken: entry.routedLayers * entry.expertsPerToken * expertBytes,
  };
}

export function verdict(entry: CatalogEntry, quant: OfferedQuant, machine: MachineFacts): Verdict {
  const needs = estimate(entry, quant);
  const usable = machine.memoryBytes - SYSTEM_BYTES;
  if (needs.memoryBytes > usable) {
    const memory = `${formatBinaryBytes(needs.memoryBytes)} beside ${formatBinaryBytes(SYSTEM_BYTES)} for the system`;
    return no(`needs ${memory}; this machine has ${formatBinaryBytes(machine.memoryBytes)}`);
  }
  const disk = needs.peakBytes * DISK_MARGIN;
  if (machine.freeBytes !== null && machine.freeBytes < disk) {
    return no(
      `needs ${formatBytes(disk)} free during setup; ${formatBytes(machine.freeBytes)} are`,
    );
  }
  const speed = tokensPerSecond(entry, quant, machine);
  const about = speed === null ? '' : `, about ${describe(speed)} tokens/s`;
  if (needs.memoryBytes + needs.finalBytes - entry.denseBytes <= usable) {
    return {
      level: 'small',
      text: 'fits in memory: an engine that keeps it there would be faster',
      tokensPerSecond: speed,
    };
  }
  if (speed !== null && speed.high < SLOW_TOKENS_PER_SECOND) {
    return { level: 'slow', text: `runs slowly${about}`, tokensPerSecond: speed };
  }
  // With no room for the page cache, and the system close to swapping.
  if (needs.memoryBytes > usable * 0.8) {
    return { level: 'slow', text: `memory is tight${about}`, tokensPerSecond: speed };
  }
  return { level: 'good', text: `runs from the SSD${about}`, tokensPerSecond: speed };
}

/** Low: nothing cached and the disk half used. High: the disk's own rate, with spare memory full of experts. */
function tokensPerSecond(entry: CatalogEntry, quant: OfferedQuant, machine: MachineFacts) {
  const rate = machine.readBytesPerSecond;
  if (rate === null || rate <= 0) return null;
  const { bytesPerToken, memoryBytes, finalBytes } = estimate(entry, quant);
  const spare = Math.max(0, machine.memoryBytes - SYSTEM_BYTES - memoryBytes);
  const misses = Math.max(LEAST_MISSES, 1 - spare / (finalBytes - entry.denseBytes));
  return {
    low: (rate * LEAST_EFFICIENCY) / bytesPerToken,
    high: rate / (bytesPerToken * misses),
  };
}

function describe({ low, high }: { low: number; high: number }): string {
  const digits = (value: number) => value.toFixed(value < 10 ? 1 : 0);
  return `${digits(low)} to ${digits(high)}`;
}

function no(text: string): Verdict {
  return { level: 'no', text, tokensPerSecond: null };
}
