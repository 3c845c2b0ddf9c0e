// From a packed model's folders to an engine that chats: checks that what must be there is there, loads
// tokenizer, template and settings from the checkpoint's own files, and opens the native engine.

import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { packageRoot, runJob } from '../addon/load.js';
import type { BackendName, NativeAddon, NativeEngine, NativeSession } from '../addon/types.js';
import { asFlashmoeError, FlashmoeError } from '../base/errors.js';
import { loadChatTemplate } from './chat-template.js';
import { LocalEngine } from './engine.js';
import { loadGenerationSettings } from './generation-settings.js';
import { isObject, readJsonObject, type JsonObject } from './model-files.js';
import { loadTokenizer } from './tokenizer.js';
import type { Engine } from './types.js';

export interface OpenEngineOptions {
  addon: NativeAddon;
  /** As answers name the model. */
  id: string;
  /** Folder with model_weights.{bin,json}, tokenizer, template and configs. */
  modelDir: string;
  /** Folder with layout.json and layer files. */
  expertsDir: string;
  threads: number;
  ioThreads: number;
  /** Tokens. ERR_CONTEXT when memory doesn't allow it; absent: the model's limit, or what memory allows of it. */
  contextLength?: number;
  /** Fewer experts per token than the model's config says. */
  expertsPerToken?: number;
  /** 'cpu' when absent; backendFor() knows what a machine is best at. */
  backend?: BackendName;
  signal?: AbortSignal;
}

/** What an engine runs on where nobody chose: the GPU of a Mac with Apple silicon, else the CPU. */
export function backendFor(machine: { platform: string; arch: string }): BackendName {
  return machine.platform === 'darwin' && machine.arch === 'arm64' ? 'metal' : 'cpu';
}

/** ERR_MODEL_MISSING when there is nothing, ERR_MODEL_DAMAGED naming the file when there is not enough. */
export async function openEngine(options: OpenEngineOptions): Promise<Engine> {
  const { addon, id, modelDir, expertsDir, signal } = options;
  await checkPresent(modelDir, id);
  await requireManifest(modelDir, 'model_weights.json', 'flashmoe-dense');
  const experts = await requireManifest(expertsDir, 'layout.json', 'flashmoe-experts');
  const tokenizer = await loadTokenizer(modelDir);
  const template = await loadChatTemplate(modelDir, tokenizer);
  const settings = await loadGenerationSettings(modelDir, tokenizer, template);
  const native = await runJob(
    addon.openEngine({
      modelDir,
      expertsDir,
      threads: options.threads,
      ioThreads: options.ioThreads,
      tokenLimit: tokenizer.tokenLimit,
      expertsPerToken: options.expertsPerToken ?? 0,
      backend: options.backend ?? 'cpu',
      kernelsDir: join(packageRoot, 'metal'),
    }),
    signal,
  );
  try {
    const info = native.info();
    const { session, contextLength } = createSession(native, options.contextLength ?? null);
    const source = isObject(experts.source) ? experts.source : {};
    return new LocalEngine({
      native,
      session,
      vocabSize: info.vocabSize,
      tokenizer,
      template,
      settings,
      model: {
        id,
        repo: String(source.repo),
        quant: String(experts.quant),
        contextLength,
        expertsPerToken: info.expertsPerToken,
        backend: info.backend,
        isa: info.isa,
        denseBytes: info.denseBytes,
        expertBytesPerToken: info.expertBytesPerToken,
      },
    });
  } catch (error) {
    native.close();
    throw error;
  }
}

/** Below this a chat with tools has no room to answer: better to say so than to start. */
const SMALLEST_CONTEXT = 2048;

function createSession(
  native: NativeEngine,
  wanted: number | null,
): { session: NativeSession; contextLength: number } {
  const { maxPositions } = native.info();
  let contextLength = Math.min(wanted ?? Infinity, maxPositions);
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

async function checkPresent(dir: string, id: string): Promise<void> {
  await access(dir).catch((cause: unknown) => {
    throw new FlashmoeError('ERR_MODEL_MISSING', `${id}: there is no model in ${dir}`, {
      hint: `run \`flashmoe setup ${id}\``,
      cause,
    });
  });
}

async function requireManifest(dir: string, name: string, format: string): Promise<JsonObject> {
  const manifest = await readJsonObject(dir, name);
  const found = manifest === null ? 'not there' : `format ${String(manifest.format)}`;
  if (manifest?.format === format) return manifest;
  throw new FlashmoeError(
    'ERR_MODEL_DAMAGED',
    `${join(dir, name)}: ${found}, needed is ${format}`,
    {
      hint: 'run `flashmoe verify`',
    },
  );
}
