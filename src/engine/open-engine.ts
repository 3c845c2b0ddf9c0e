// From a packed model's folders to an engine that chats: checks that what must be there is there, loads
// tokenizer, template and settings from the checkpoint's own files, and opens the native engine.

import type { NativeEngine, NativeSession } from '../addon/types.js';
import { asFlashmoeError } from '../base/errors.js';
import { passTokens } from '../models/memory-plan.js';
import { chooseBackend, missingGpu } from './backend.js';
import type { TemplateText } from './chat-template.js';
import { LocalEngine } from './engine.js';
import { loadGenerationSettings } from './generation-settings.js';
import {
  elasticMemory,
  keepHottest,
  machineMemory,
  useMemory,
  type MemoryOptions,
} from './memory.js';
import { openNative, type OpenNativeOptions, readOrigin } from './open-native.js';
import { PromptWorker } from './prompt-worker/worker.js';
import { StateStore, type StateStoreOptions } from './state-store.js';
import { loadVocabulary } from './tokenizer.js';
import type { Engine, Sampling } from './types.js';

export interface OpenEngineOptions extends Omit<OpenNativeOptions, 'tokenLimit'> {
  /** Tokens. ERR_CONTEXT when memory doesn't allow it; absent: the model's limit, or what memory allows of it. */
  contextLength?: number;
  /** Experts stay in memory by a plan, and the context follows from it; absent: they are read for each token. */
  memory?: MemoryOptions;
  /** Instead of the model's own chat template. */
  template?: TemplateText;
  /** Answers at once, each with a context of its own; fewer where memory has no room. Absent: one. */
  sessions?: number;
  /** Before what the checkpoint says; a request's own goes before both. */
  sampling?: Partial<Sampling>;
  /** Where states of prompts are kept; absent: nowhere. */
  states?: Omit<StateStoreOptions, 'id' | 'program'> & { version: string };
}

/**
 * `modelDir` also holds tokenizer, template and configs. ERR_MODEL_MISSING when there is nothing,
 * ERR_MODEL_DAMAGED naming the file when there is not enough.
 */
export async function openEngine(options: OpenEngineOptions): Promise<Engine> {
  const { id, modelDir } = options;
  const { repo, quant } = await readOrigin(options);
  const tokenizer = await loadVocabulary(modelDir);
  const { template = null } = options;
  const prompts = await PromptWorker.open({ files: modelDir, template });
  try {
    const endOfTurn = prompts.template?.endOfTurn ?? null;
    const settings = await loadGenerationSettings(modelDir, tokenizer, endOfTurn);
    const { memory, addon } = options;
    const machine =
      memory && (await machineMemory(addon, chooseBackend(addon, options.backend ?? null), memory));
    const native = await openNative({
      ...options,
      ...(machine && { prefillTokens: passTokens(machine, memory?.wishes) }),
      tokenLimit: tokenizer.tokenLimit,
    });
    try {
      const plan = memory && machine ? await useMemory(native, machine, memory) : null;
      const info = native.info();
      const wanted = options.contextLength ?? null;
      const most = plan?.contextLength ?? info.maxPositions;
      const { session, contextLength } = createSession(native, wanted, most);
      const further = furtherSessions(native, contextLength, (options.sessions ?? 1) - 1);
      return new LocalEngine({
        native,
        onClose: () => {
          if (memory !== undefined) keepHottest(native, memory);
        },
        session,
        further,
        elastic: elasticMemory(native, plan, memory ?? {}),
        store: await openStore(options, native),
        vocabSize: info.vocabSize,
        fixedStateBytes: info.stateBytes,
        tokenizer,
        prompts,
        settings: { ...settings, sampling: { ...settings.sampling, ...options.sampling } },
        model: {
          id,
          repo,
          quant,
          contextLength,
          expertsPerToken: info.expertsPerToken,
          sessions: 1 + further.length,
          backend: info.backend,
          gpuMissing: missingGpu(
            options.addon,
            options.backend ?? null,
            options.expectedBackend ?? 'cpu',
          ),
          isa: info.isa,
          denseBytes: info.denseBytes,
          memory: plan,
          expertBytesPerToken: info.expertBytesPerToken,
        },
      });
    } catch (error) {
      native.close();
      throw error;
    }
  } catch (error) {
    await prompts.close();
    throw error;
  }
}

async function openStore(
  { states, id }: OpenEngineOptions,
  native: NativeEngine,
): Promise<StateStore | null> {
  if (states === undefined || states.maxBytes <= 0) return null;
  const { backend, isa, stateBytes, kvBytesPerToken } = native.info();
  // Another version, or other arithmetic, may compute other values from the same tokens.
  const program = `flashmoe ${states.version} ${backend} ${isa}`;
  const sizes = { perToken: kvBytesPerToken + Int32Array.BYTES_PER_ELEMENT, fixed: stateBytes };
  return StateStore.open({ ...states, id, program }, native.stateKey(program), sizes);
}

/** Below this a chat with tools has no room to answer: better to say so than to start. */
const SMALLEST_CONTEXT = 2048;

/** As many as memory has room for. */
function furtherSessions(
  native: NativeEngine,
  contextLength: number,
  count: number,
): NativeSession[] {
  const sessions: NativeSession[] = [];
  while (sessions.length < count) {
    try {
      sessions.push(native.createSession(contextLength));
    } catch (thrown) {
      if (asFlashmoeError(thrown).code !== 'ERR_CONTEXT') throw thrown;
      break;
    }
  }
  return sessions;
}

function createSession(
  native: NativeEngine,
  wanted: number | null,
  most: number,
): { session: NativeSession; contextLength: number } {
  const { maxPositions } = native.info();
  let contextLength = Math.min(wanted ?? most, maxPositions);
  for (;;) {
    try {
      return { session: native.createSession(contextLength), contextLength };
    } catch (thrown) {
      const error = asFlashmoeError(thrown);
      const half = Math.floor(contextLength / 2);
      if (wanted !== null || error.code !== 'ERR_CONTEXT' || half < SMALLEST_CONTEXT) throw error;
      contextLength = half;
    }
  }
}
