// deepseek_v3 under another name: what differs (one expert group, more experts, other YaRN constants)
// are values in config.json.

import type { Family } from '../family.js';
import { deepseek_v3 } from './deepseek_v3.js';

export const kimi_k2: Family = { ...deepseek_v3, modelType: 'kimi_k2' };
