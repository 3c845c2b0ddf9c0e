// How wide routed experts are stored: as published, requantised to two bits, or some of each.

/** Those that are made of the experts as published. */
export const MADE_QUANTS = ['2bit', 'mixed'] as const;
export const QUANTS = ['4bit', ...MADE_QUANTS] as const;
export type Quant = (typeof QUANTS)[number];
