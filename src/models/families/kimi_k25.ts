// kimi_k2 inside a wrapper with an image encoder, which is left out.

import type { Family } from '../family.js';
import { latentModel } from './deepseek_v3.js';

export const kimi_k25: Family = {
  modelType: 'kimi_k25',
  readSpec(root, has) {
    const config = root.object('text_config') ?? root;
    return latentModel(config, root, has);
  },
};
