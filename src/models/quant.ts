// How wide routed experts are stored: as published, requantised to fewer bits, or some of each: some projections (mixed), or
// some experts (tiered).

/** What the catalogue knows the sizes of, and a wizard offers. */
export const OFFERED_QUANTS = ['4bit', '2bit', 'mixed'] as const;
export type OfferedQuant = (typeof OFFERED_QUANTS)[number];
export function isOffered(quant: Quant): quant is OfferedQuant {
  return (OFFERED_QUANTS as readonly Quant[]).includes(quant);
}

/** What a setup makes of a checkpoint: all that there are. */
export const QUANTS = [...OFFERED_QUANTS, '3bit', '5bit', 'tiered'] as const;
/** What is made of a model that is here as published. */
export const MADE_QUANTS = ['2bit', '3bit', '5bit', 'mixed', 'tiered'] as const;
export type Quant = (typeof QUANTS)[number];

/** Bits of a projection, or of an expert, that isn't kept; of 4bit: of originals, anything else is as published. */
export const NARROW_BITS: Readonly<Record<Quant, 2 | 3 | 4 | 5>> = {
  '5bit': 5,
  '4bit': 4,
  '3bit': 3,
  '2bit': 2,
  mixed: 2,
  tiered: 2,
};
