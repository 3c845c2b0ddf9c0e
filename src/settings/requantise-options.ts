// What `flashmoe requantise` may be asked for.

import { checkpointOptions } from './setup-options.js';
import { option, toggle } from './option.js';
import { oneOf } from './kinds.js';
import { MADE_QUANTS } from '../models/quant.js';

const { size, calibration } = checkpointOptions;

export const requantiseOptions = {
  quant: option('--quant <bits>', 'the width to make', oneOf(MADE_QUANTS)),
  size,
  calibration,
  inPlace: toggle('--in-place', 'give up the width that is here, layer by layer; it is lost'),
};
