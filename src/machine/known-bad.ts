// Versions of macOS that are known to run models badly, as data. An entry names who reported it: none was
// measured by us, and each goes when it is known to be mended.

import type { MacosVersion } from './macos.js';

export interface KnownBad {
  /** Of the product version, compared part by part. */
  product: RegExp;
  betaOnly: boolean;
  what: string;
  source: string;
}

/** Below it the engine doesn't load: MACOSX_DEPLOYMENT_TARGET of binding.gyp. */
export const OLDEST_MACOS = 14;

export const KNOWN_BAD: readonly KnownBad[] = [
  {
    product: /^27(\.0)?(\.|$)/,
    betaOnly: true,
    what: 'generation fell from 10-13 to 0.14-0.19 tokens/s with beta 8 of macOS 27, cause unknown',
    source: 'https://github.com/antirez/ds4/issues/845',
  },
];

export function knownBad({ product, isBeta }: MacosVersion): KnownBad | null {
  const fits = (entry: KnownBad): boolean =>
    entry.product.test(product) && (isBeta || !entry.betaOnly);
  return KNOWN_BAD.find(fits) ?? null;
}
