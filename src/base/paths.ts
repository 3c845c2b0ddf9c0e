// Where things lie below the flashmoe home. Pure: a home in, paths out.

import { join } from 'node:path';

export interface HomePaths {
  home: string;
  models: string;
  /** An addon built on this machine, and its build log. */
  engine: string;
  logs: string;
  /** States of prompts that were read, one folder a model; they hold what was asked, so 0700. */
  prompts: string;
  /** User settings: default model, port, room for states of prompts. */
  settings: string;
}

export interface ModelPaths {
  root: string;
  /** Owned files with sizes and hashes, plan summary, receipt. Present only when provisioning finished. */
  manifest: string;
  journal: string;
  /** Hashes of the blocks of the packed files. */
  blocks: string;
  /** What a setup will write and from which commit; its journal is bound to it. */
  plan: string;
  /** How the setup went: rates, waits, sleeps. */
  record: string;
  /** Rate and hours of a setup. */
  limits: string;
  lock: string;
  /** Source shards while they are needed. */
  download: string;
  denseFile: string;
  denseManifest: string;
  /** packed_experts for source bits, packed_experts_2bit for 2-bit. */
  experts(quant: string): string;
}

export function homePaths(home: string): HomePaths {
  return {
    home,
    models: join(home, 'models'),
    engine: join(home, 'engine'),
    logs: join(home, 'logs'),
    prompts: join(home, 'prompts'),
    settings: join(home, 'settings.json'),
  };
}

/** In the home; a model that was moved lies where `locatedPaths` says. */
export function modelPaths(home: HomePaths, modelId: string): ModelPaths {
  return modelPathsAt(join(home.models, modelId));
}

export function modelPathsAt(root: string): ModelPaths {
  return {
    root,
    manifest: join(root, 'manifest.json'),
    journal: join(root, 'journal.ndjson'),
    blocks: join(root, 'blocks.json'),
    plan: join(root, 'plan.json'),
    record: join(root, 'record.ndjson'),
    limits: join(root, 'limits.json'),
    lock: join(root, 'setup.lock'),
    download: join(root, 'download'),
    denseFile: join(root, 'model_weights.bin'),
    denseManifest: join(root, 'model_weights.json'),
    experts: (quant) => join(root, expertsFolder(quant)),
  };
}

/** Name of the folder of layer files. */
export function expertsFolder(quant: string): string {
  return quant === '4bit' ? 'packed_experts' : `packed_experts_${quant}`;
}

/** `packed_experts/layer_07.bin`: at least two digits, as flash-moe names them. */
export function layerFileName(layer: number): string {
  return `layer_${String(layer).padStart(2, '0')}.bin`;
}

/** `packed_experts/rows_01.bin`: the n-gram rows of that layer. */
export function tableFileName(layer: number): string {
  return `rows_${String(layer).padStart(2, '0')}.bin`;
}

/** What both of the above give. */
export const PACKED_NAME = /^(?:layer|rows)_\d{2,5}\.bin$/;
