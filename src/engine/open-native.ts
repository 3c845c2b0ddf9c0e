// From a packed model's folders to the native engine that runs it: what is there, and in our format.

import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { packageRoot, runJob } from '../addon/load.js';
import type { BackendName, NativeAddon, NativeEngine } from '../addon/types.js';
import { FlashmoeError } from '../base/errors.js';
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
  /** 'cpu' when absent; backendFor() knows what a machine is best at. */
  backend?: BackendName;
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

/** Checks every tensor and size against the manifests; the caller closes what it gets. */
export function openNative(options: OpenNativeOptions): Promise<NativeEngine> {
  const { addon, modelDir, expertsDir, threads, ioThreads, tokenLimit, signal } = options;
  return runJob(
    addon.openEngine({
      modelDir,
      expertsDir,
      threads,
      ioThreads,
      tokenLimit,
      expertsPerToken: options.expertsPerToken ?? 0,
      backend: options.backend ?? 'cpu',
      kernelsDir: join(packageRoot, 'metal'),
    }),
    signal,
  );
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
