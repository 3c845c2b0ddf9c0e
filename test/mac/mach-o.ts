import { readFileSync } from 'node:fs';

/** What a Mac's loader reads of a file before it runs anything of it. */
export interface MachO {
  /** `arm64`, or the number of the CPU type. */
  readonly cpu: string;
  readonly kind: 'dynamic library' | 'bundle' | 'other';
  readonly platform: 'macOS' | 'other';
  /** The oldest system that may load it: `14.0`. */
  readonly minimum: string;
  /** Paths of the libraries and frameworks that are loaded with it. */
  readonly libraries: readonly string[];
  /** Symbols that others may use, without C's leading underscore. */
  readonly exported: readonly string[];
  /** Symbols that others must bring. */
  readonly undefined: readonly string[];
}

// <mach-o/loader.h> and <mach-o/nlist.h> of Apple's open-source cctools.
const MAGIC_64 = 0xfeedfacf;
const CPU_ARM64 = 0x0100000c;
const COMMAND = { symbols: 0x02, library: 0x0c, weakLibrary: 0x80000018, build: 0x32 };
const SYMBOL = { debug: 0xe0, external: 0x01, type: 0x0e };

const text = (bytes: Buffer, at: number) => bytes.toString('latin1', at, bytes.indexOf(0, at));
const version = (word: number) => `${String(word >>> 16)}.${String((word >>> 8) & 0xff)}`;

/** Reads a thin 64-bit Mach-O file. Throws when it is none: a file for several CPUs has another magic. */
export function readMachO(path: string): MachO {
  const bytes = readFileSync(path);
  const word = (at: number) => bytes.readUInt32LE(at);
  if (word(0) !== MAGIC_64) throw new Error(`${path}: no thin 64-bit Mach-O file`);
  const libraries: string[] = [];
  const exported: string[] = [];
  const missing: string[] = [];
  let platform: MachO['platform'] = 'other';
  let minimum = '';

  const readSymbols = (first: number, count: number, names: number) => {
    for (let at = first; at < first + 16 * count; at += 16) {
      const flags = bytes.readUInt8(at + 4);
      if ((flags & SYMBOL.debug) !== 0 || (flags & SYMBOL.external) === 0) continue;
      const name = text(bytes, names + word(at)).replace(/^_/, '');
      ((flags & SYMBOL.type) === 0 ? missing : exported).push(name);
    }
  };

  for (let at = 32, left = word(16); left > 0; left -= 1, at += word(at + 4)) {
    const command = word(at);
    if (command === COMMAND.library || command === COMMAND.weakLibrary)
      libraries.push(text(bytes, at + word(at + 8)));
    if (command === COMMAND.build) {
      platform = word(at + 8) === 1 ? 'macOS' : 'other';
      minimum = version(word(at + 12));
    }
    if (command === COMMAND.symbols) readSymbols(word(at + 8), word(at + 12), word(at + 16));
  }
  const kinds: Record<number, MachO['kind']> = { 6: 'dynamic library', 8: 'bundle' };
  return {
    cpu: word(4) === CPU_ARM64 ? 'arm64' : `0x${word(4).toString(16)}`,
    kind: kinds[word(12)] ?? 'other',
    platform,
    minimum,
    libraries,
    exported,
    undefined: missing,
  };
}
