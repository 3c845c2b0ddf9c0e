// Known answers of the bundled model. At 4 bits: greedy ids and margins of its reference run in float32. At 2 bits:
// those of our engine, equal through its 4-bit path on the same values; the packed bytes are the same everywhere.

import type { Quant, SmokeQuestion } from './smoke.js';

const GREEDY: SmokeQuestion = {
  kind: 'tokens',
  name: 'greedy tokens',
  prompt: [
    338, 175, 40, 404, 59, 391, 105, 24, 56, 355, 89, 204, 8, 454, 114, 266, 120, 296, 176, 65, 261,
    366, 35, 142, 268, 142, 162, 219, 121, 349, 288, 375, 183, 475, 418, 177, 274, 296, 219, 168,
  ],
  expected: [15, 43, 412, 136, 382, 373, 36, 204, 221, 479, 478, 61],
  margins: [
    0.855, 0.0668, 0.0012, 0.1408, 0.4367, 1.2924, 1.6905, 0.3633, 0.0094, 0.3872, 0.1945, 0.1735,
  ],
};

const GREEDY_TWO_BIT: SmokeQuestion = {
  ...GREEDY,
  expected: [446, 187, 253, 489, 15, 498, 55, 137],
  margins: [0.2041, 1.9934, 0.3914, 0.3975, 0.282, 0.1387, 0.0172, 0.5162],
};

export const TINY_QUESTIONS: Record<Quant, SmokeQuestion[]> = {
  '4bit': [GREEDY],
  '2bit': [GREEDY_TWO_BIT],
};
