// Metadata and tensor names of a GGUF file in, the model's config.json and ModelSpec out.

import { FlashmoeError } from '../../base/errors.js';
import { readModelSpec } from '../registry.js';
import type { ModelSpec } from '../spec.js';
import {
  decoderLayers,
  type GgufArchitecture,
  ggufName,
  type HasTensor,
  trunkFields,
} from './architecture.js';
import { deepseek2 } from './deepseek2.js';
import { glm4moe } from './glm4moe.js';
import { gptOss } from './gpt-oss.js';
import { type GgufMetadata, unsupportedKey } from './metadata.js';
import { minimax } from './minimax.js';
import { qwen35moe, qwen3moe, qwen3next } from './qwen.js';

const ARCHITECTURES = [qwen3moe, qwen3next, qwen35moe, deepseek2, glm4moe, minimax, gptOss];

export const GGUF_ARCHITECTURES: string[] = ARCHITECTURES.map(({ name }) => name);

export interface GgufModel {
  architecture: GgufArchitecture;
  /** What config.json of the model would say. */
  config: Record<string, unknown>;
  spec: ModelSpec;
}

/** `has` answers for the file's own tensor names. Throws ERR_UNSUPPORTED_MODEL naming the key. */
export function readGgufModel(metadata: GgufMetadata, has: HasTensor): GgufModel {
  const type = metadata.text('general.type', 'model');
  if (type !== 'model') throw unsupportedKey('general.type', type, '"model"');
  const architecture = ARCHITECTURES.find(({ name }) => name === metadata.architecture);
  if (architecture === undefined) {
    const known = GGUF_ARCHITECTURES.join(', ');
    throw unsupportedKey('general.architecture', metadata.architecture, known);
  }
  const version = metadata.whole('general.quantization_version', 2);
  if (version !== 2) throw unsupportedKey('general.quantization_version', version, '2');
  if (has('blk.0.ffn_gate.0.weight')) {
    throw new FlashmoeError(
      'ERR_UNSUPPORTED_MODEL',
      'the GGUF file has one tensor for each expert (blk.0.ffn_gate.0.weight), as files of 2023 have; stacked experts are supported',
      { subject: 'blk.0.ffn_gate.0.weight', hint: 'choose a newer GGUF file of the model' },
    );
  }
  const layers = decoderLayers(metadata, has);
  const config = {
    ...trunkFields(metadata, layers, has),
    ...architecture.fields(metadata, layers, has),
  };
  const hasModule = (name: string): boolean => {
    const own = ggufName(name, architecture);
    return own !== null && has(own);
  };
  const spec = readModelSpec(config, { has: hasModule });
  return { architecture, config, spec: architecture.adapt?.(spec) ?? spec };
}
