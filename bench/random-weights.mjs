// Random quantised weights, fast: one block of random codes is made once and repeated from changing
// places, because only its size and entropy matter to a benchmark.
import { randomFillSync } from 'node:crypto';

const CODES = centred(randomFillSync(Buffer.alloc(32 << 20)));

/**
 * Code 0 becomes 8, so that weights of 8 steps less have mean zero. With any other mean a constant grows in the hidden
 * state, every token chooses the same few experts, and a third of the model would hold them all.
 */
function centred(bytes) {
  const nibble = (code) => (code === 0 ? 8 : code);
  const table = Uint8Array.from(
    { length: 256 },
    (_, byte) => (nibble(byte >> 4) << 4) | nibble(byte & 15),
  );
  for (let i = 0; i < bytes.length; i++) bytes[i] = table[bytes[i]];
  return bytes;
}

/** Yields `size` bytes of random codes in pieces, starting at a place that depends on `salt`. */
export function* codes(size, salt) {
  let at = (salt * 7919 * 64) % CODES.length;
  for (let left = size; left > 0;) {
    const piece = CODES.subarray(at, Math.min(CODES.length, at + left));
    yield piece;
    left -= piece.length;
    at = 0;
  }
}

/** float32 to bfloat16 bits, truncating: these values are ours to choose. */
export function bf16(value) {
  return new Uint32Array(new Float32Array([value]).buffer)[0] >>> 16;
}

/** Powers of two and simple fractions only, so that conversion is exact. */
export function f16PowerOfTwo(exponent) {
  return (exponent + 15) << 10;
}

/** `count` 16-bit words of one value, as bytes. */
export function repeated16(word, count) {
  const words = new Uint16Array(count).fill(word);
  return Buffer.from(words.buffer);
}

/** A weight's step: with codes uniform over 16 values, the deviation is about 4.6 steps. */
export const STEP_EXPONENT = -8;
