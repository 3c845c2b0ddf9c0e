// From a packed model's folders to the native engine that runs it: what is there, and in our format.

import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { runJob } from '../addon/load.js';
import { packageRoot } from '../base/package-root.js';
import type {
  Arithmetic,
  BackendName,
  CacheType,
  NativeAddon,
  NativeEngine,
} from '../addon/types.js';
import { asFlashmoeError, FlashmoeError } from '../base/errors.js';
import { chooseBackend } from './backend.js';
import { isObject, readJsonObject, type JsonObject } from './model-files.js';

export interface OpenNativeOptions {
  addon: NativeAddon;
  /** As messages name the model. */
  id: string;
  /** Folder with model_weights.{bin,json}. */
  modelDir: string;
  /** Folder with layout.json and layer files. */
  expertsDir: string;
  threads: number;
  ioThreads: number;
  /** Ids at or above it are never sampled. */
  tokenLimit: number;
  /** Fewer experts per token than the model's config says. */
  expertsPerToken?: number;
  /** Absent or null: the GPU where one answers, else the CPU. ERR_BACKEND for one that isn't there. */
  backend?: BackendName | null;
  /** What this machine should compute on (expectedBackend); absent: whatever answers. */
  expectedBackend?: BackendName;
  /** Experts are read past the page cache: for models far larger than it. */
  directReads?: boolean;
  /** How the CPU multiplies; absent: exact. */
  arithmetic?: Arithmetic;
  /** Of a token's routed weight, what the experts that are computed carry at least; absent: all of it. */
  expertMass?: number;
  /** Tokens of a prefill pass; absent: 1,024. */
  prefillTokens?: number;
  /** f32: attention keeps whole floats, on the CPU only; for comparing with references. */
  cache?: CacheType;
  signal?: AbortSignal;
}

/** Where the packed files come from. */
export interface Origin {
  repo: string;
  revision: string;
  quant: string;
}

/** ERR_MODEL_MISSING when there is nothing, ERR_MODEL_DAMAGED naming the file when there is not enough. */
export async function readOrigin(
  options: Pick<OpenNativeOptions, 'id' | 'modelDir' | 'expertsDir'>,
): Promise<Origin> {
  const { id, modelDir, expertsDir } = options;
  await checkPresent(modelDir, id);
  await requireManifest(modelDir, 'model_weights.json', 'flashmoe-dense');
  const experts = await requireManifest(expertsDir, 'layout.json', 'flashmoe-experts');
  const source = isObject(experts.source) ? experts.source : {};
  return {
    repo: String(source.repo),
    revision: String(source.revision),
    quant: String(experts.quant),
  };
}

/**
 * Checks every tensor and size against the manifests; the caller closes what it gets. A GPU that cannot run the
 * kernels is a failure, not a slower engine: whoever chose it decides again.
 */
export async function openNative(options: OpenNativeOptions): Promise<NativeEngine> {
  const { addon, modelDir, expertsDir, threads, ioThreads, tokenLimit, signal } = options;
  const backend = chooseBackend(addon, options.backend ?? null);
  const expertsPerToken = options.expertsPerToken ?? 0;
  const kernelsDir = join(packageRoot, 'metal');
  const places = { modelDir, expertsDir, kernelsDir };
  const { directReads = false, cache = '16bit' } = options;
  const numbers = { threads, ioThreads, tokenLimit, expertsPerToken, directReads, cache };
  const { arithmetic = 'exact', expertMass = 1, prefillTokens = 1024 } = options;
  const ways = { arithmetic, expertMass, prefillTokens };
  try {
    return await runJob(addon.openEngine({ ...places, ...numbers, ...ways, backend }), signal);
  } catch (thrown) {
    const error = asFlashmoeError(thrown);
    const isBeyond = error.code === 'ERR_UNSUPPORTED_MODEL';
    if (backend !== 'metal' || !(isBeyond || error.code === 'ERR_ENGINE')) throw error;
    const without = '`--backend cpu` computes without the GPU';
    throw new FlashmoeError(error.code, error.message, {
      hint: isBeyond ? without : `run \`flashmoe doctor --self-test\`; ${without}`,
      cause: error,
    });
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
