// How wide routed experts are stored: as published, requantised to two bits, or some of each.

export const QUANTS = ['4bit', '2bit', 'mixed'] as const;
export type Quant = (typeof QUANTS)[number];
