// Known answers of the bundled model: greedy ids and margins of its reference run in float32.

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

export const TINY_QUESTIONS: Record<Quant, SmokeQuestion[]> = {
  '4bit': [GREEDY],
  '2bit': [],
};
