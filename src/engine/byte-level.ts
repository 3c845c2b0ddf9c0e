// The byte alphabet of byte-level BPE: every byte has one printable character, so that a vocabulary
// can be written as JSON strings. Printable Latin-1 stands for itself, the rest is moved to U+0100 on
// (Radford et al., GPT-2, encoder.py).

const PRINTABLE: readonly (readonly [number, number])[] = [
  [0x21, 0x7e],
  [0xa1, 0xac],
  [0xae, 0xff],
];

const BYTE_OF = new Map<string, number>();
let moved = 0;
for (let byte = 0; byte < 256; byte++) {
  const standsForItself = PRINTABLE.some(([low, high]) => byte >= low && byte <= high);
  BYTE_OF.set(String.fromCharCode(standsForItself ? byte : 0x100 + moved++), byte);
}

/** Bytes of a vocabulary entry, or null when it holds a character outside the alphabet. */
export function bytesOfEntry(entry: string): Uint8Array | null {
  const bytes = new Uint8Array(entry.length);
  for (let i = 0; i < entry.length; i++) {
    const byte = BYTE_OF.get(entry.charAt(i));
    if (byte === undefined) return null;
    bytes[i] = byte;
  }
  return bytes;
}

const ENTRY_OF = [...BYTE_OF.keys()];

/** Bytes written in the alphabet. */
export function entryOfBytes(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => ENTRY_OF[byte] ?? '').join('');
}
