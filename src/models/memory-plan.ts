// Where a machine's memory goes while a model is served: dense weights, caches of conversations, room for reading prompts,
// experts that stay, and what is left to the system's page cache. From numbers alone; `serve`, `plan` and `doctor --sim` show
// the same plan, and the engine gets its figures from it.

/** Of a model, in bytes unless said otherwise; the engine's info() has them, the catalogue's entries as well. */
export interface ModelMemory {
  denseBytes: number;
  /** All experts; the largest one; those of one token in all layers. */
  expertFileBytes: number;
  largestExpertBytes: number;
  expertBytesPerToken: number;
  /** Of a conversation: fixed, and for each token. */
  stateBytes: number;
  kvBytesPerToken: number;
  /** Of a prompt that is read, for each token of a pass. */
  prefillBytesPerToken: number;
  /** Tokens. */
  maxPositions: number;
}

export interface MachineMemory {
  memoryBytes: number;
  /** What can be had without anybody else's being swapped out; null: unknown. */
  availableBytes: number | null;
  /** What a GPU keeps resident, where it computes; null: the CPU does. */
  workingSetBytes: number | null;
}

export interface MemoryWishes {
  /** Bytes for all of it, instead of what the machine suggests. */
  memoryBytes?: number | null;
  /** Tokens of a conversation, instead of what fits. */
  contextLength?: number | null;
  /** Conversations kept at once; absent: 1. */
  sessions?: number;
}

/** resident: all experts stay. cached: the hot ones do. streamed: none for long. */
export type ExpertMode = 'resident' | 'cached' | 'streamed';

export interface MemoryPlan {
  mode: ExpertMode;
  /** What the parts below add up to at most. */
  budgetBytes: number;
  /** Node, tokenizer, buffers. */
  programBytes: number;
  denseBytes: number;
  sessions: number;
  /** Tokens of each conversation; caches of all of them when they are full. */
  contextLength: number;
  cacheBytes: number;
  /** Tokens of a pass, and its memory. */
  prefillTokens: number;
  prefillBytes: number;
  /** Memory that experts stay in. */
  expertBytes: number;
  /** Left of the machine's memory to the system and its page cache. */
  leftBytes: number;
  /** What is missing for this to work at all; 0 when it does. */
  shortBytes: number;
}

const GIB = 2 ** 30;
const PROGRAM_BYTES = 0.5 * GIB;
/** What the system and other programs keep: three tenths, and no more than so much. */
const SYSTEM_SHARE = 0.3;
const MOST_SYSTEM_BYTES = 16 * GIB;
/** Under what a GPU recommends. */
const WORKING_SET_MARGIN = 2 * GIB;
/** Of what is left beside the dense weights, what caches may take unless a context is asked for. */
const CACHE_SHARE = 0.25;
/** A chat with tools has room in it; asked for first, whatever the share is. */
const WORKING_CONTEXT = 16_384;
const CONTEXT_STEP = 1024;
/** Reading ahead while nothing stays. */
const STREAM_BYTES = 96 * 2 ** 20;
/** Of the room for experts, what misses may leave in the page cache instead. */
const PAGE_CACHE_SHARE = 0.125;
/** Passes by memory: bytes read for a prompt are passes times experts. */
const PASSES: readonly [fromBytes: number, tokens: number][] = [
  [44 * GIB, 8192],
  [22 * GIB, 4096],
  [12 * GIB, 2048],
  [0, 1024],
];

/** Tokens of a prefill pass: known before the model is. */
export function passTokens(machine: MachineMemory, wishes: MemoryWishes = {}): number {
  const budget = memoryBudget(machine, wishes.memoryBytes ?? null);
  const bytes = Math.min(machine.memoryBytes, budget * 1.5);
  return PASSES.find(([from]) => bytes >= from)?.[1] ?? 1024;
}

/** Bytes that are not to be exceeded. */
export function memoryBudget(machine: MachineMemory, wished: number | null = null): number {
  const system = Math.min(machine.memoryBytes * SYSTEM_SHARE, MOST_SYSTEM_BYTES);
  const limits = [wished ?? machine.memoryBytes - system];
  if (machine.workingSetBytes !== null) limits.push(machine.workingSetBytes - WORKING_SET_MARGIN);
  // What others hold now is theirs, unless somebody says otherwise.
  if (machine.availableBytes !== null && wished === null) limits.push(machine.availableBytes);
  return Math.max(0, Math.floor(Math.min(...limits)));
}

export function planMemory(
  model: ModelMemory,
  machine: MachineMemory,
  wishes: MemoryWishes = {},
): MemoryPlan {
  const budgetBytes = memoryBudget(machine, wishes.memoryBytes ?? null);
  const sessions = Math.max(1, wishes.sessions ?? 1);
  const streamBytes = leastExpertBytes(model);
  const prefillTokens = passTokens(machine, wishes);
  const prefillBytes = sessions * prefillTokens * model.prefillBytesPerToken;
  const fixed = PROGRAM_BYTES + model.denseBytes + prefillBytes;
  const beside = budgetBytes - fixed - sessions * model.stateBytes - streamBytes;
  const contextLength = chooseContext(model, beside / sessions, wishes.contextLength ?? null);
  const cacheBytes = sessions * (model.stateBytes + contextLength * model.kvBytesPerToken);
  const room = budgetBytes - fixed - cacheBytes;
  const shortBytes = Math.max(0, Math.ceil(streamBytes - room));
  const [mode, expertBytes] = chooseExperts(model, room, streamBytes);
  return {
    mode,
    budgetBytes,
    programBytes: PROGRAM_BYTES,
    denseBytes: model.denseBytes,
    sessions,
    contextLength,
    cacheBytes,
    prefillTokens,
    prefillBytes,
    expertBytes,
    leftBytes: Math.max(0, machine.memoryBytes - (fixed + cacheBytes + expertBytes)),
    shortBytes,
  };
}

/** What reading without keeping takes; the engine has the same rule. */
function leastExpertBytes(model: ModelMemory): number {
  if (model.expertFileBytes === 0) return 0;
  return Math.min(model.expertFileBytes, Math.max(STREAM_BYTES, 10 * model.largestExpertBytes));
}

function chooseContext(model: ModelMemory, bytes: number, wished: number | null): number {
  if (wished !== null) return Math.min(wished, model.maxPositions);
  if (model.kvBytesPerToken === 0) return model.maxPositions;
  const fits = (share: number): number =>
    Math.floor((bytes * share) / model.kvBytesPerToken / CONTEXT_STEP) * CONTEXT_STEP;
  const working = Math.min(WORKING_CONTEXT, fits(1));
  return Math.min(model.maxPositions, Math.max(2 * CONTEXT_STEP, working, fits(CACHE_SHARE)));
}

function chooseExperts(
  model: ModelMemory,
  room: number,
  streamBytes: number,
): [mode: ExpertMode, bytes: number] {
  if (model.expertFileBytes <= room) return ['resident', model.expertFileBytes];
  const pool = Math.floor(room * (1 - PAGE_CACHE_SHARE));
  // Less than two tokens' experts are gone before they are asked for again.
  if (pool < streamBytes + 2 * model.expertBytesPerToken) return ['streamed', streamBytes];
  return ['cached', pool];
}
