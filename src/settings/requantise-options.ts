// What `flashmoe requantise` may be asked for.

import { option, toggle } from './option.js';
import { byteCount, oneOf, path } from './kinds.js';
import { MADE_QUANTS } from '../models/quant.js';

export const requantiseOptions = {
  quant: option('--quant <bits>', 'the width to make', oneOf(MADE_QUANTS)),
  size: option('--size <bytes>', 'mixed, tiered: most that fits of 4 bits into 150GB', byteCount),
  calibration: option(
    '--calibration <file>',
    'what `flashmoe calibrate` wrote; tiered needs it',
    path,
  ),
  inPlace: toggle('--in-place', 'give up the width that is here, layer by layer; it is lost'),
};
