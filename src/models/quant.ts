// How wide routed experts are stored: as published, requantised to two bits, or some of each: some projections (mixed), or
// some experts (tiered).

/** What a setup makes of a checkpoint. */
export const SETUP_QUANTS = ['4bit', '2bit', 'mixed'] as const;
export type SetupQuant = (typeof SETUP_QUANTS)[number];
/** What is made of a model that is here as published. */
export const MADE_QUANTS = ['2bit', 'mixed', 'tiered'] as const;
export const QUANTS = [...SETUP_QUANTS, 'tiered'] as const;
export type Quant = (typeof QUANTS)[number];
