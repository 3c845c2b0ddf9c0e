// Bars and maps made of single-width characters.

import type { Glyphs } from './style.js';

/** Exactly `width` characters. Full only at 1: a bar never claims what isn't done. */
export function bar(fraction: number, width: number, glyph: Glyphs): string {
  const clamped = Math.min(1, Math.max(0, fraction));
  const cells = clamped >= 1 ? width : Math.min(width - 1, Math.floor(clamped * width));
  return glyph.full.repeat(Math.max(0, cells)) + glyph.empty.repeat(Math.max(0, width - cells));
}

export function percent(fraction: number): string {
  return `${Math.floor(fraction * 100)} %`;
}
