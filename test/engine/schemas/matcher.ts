// The grammar library with a vocabulary of bytes, so that any text can be put to a compiled grammar, and texts drawn
// from one.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { compileFunction, constants } from 'node:vm';
import { entryOfBytes } from '../../../src/engine/byte-level.js';

interface Matcher {
  acceptToken(id: number): boolean;
  getNextTokenBitmask(): Promise<Int32Array>;
  dispose(): void;
}
interface Library {
  TokenizerInfo: {
    createTokenizerInfo(
      vocabulary: string[],
      kind: string,
      prefix: boolean,
      size: number,
      stops: number[],
    ): Promise<unknown>;
  };
  GrammarCompiler: {
    createGrammarCompiler(info: unknown): Promise<{
      compileStructuralTag(tag: string): Promise<{ dispose(): void }>;
    }>;
  };
  GrammarMatcher: { createGrammarMatcher(compiled: unknown): Promise<Matcher> };
}

const END = 256;

export class Bytes {
  private constructor(
    private readonly library: Library,
    private readonly compiler: Awaited<
      ReturnType<Library['GrammarCompiler']['createGrammarCompiler']>
    >,
  ) {}

  static async open(): Promise<Bytes> {
    const library = load();
    const bytes = Array.from({ length: 256 }, (_, byte) => entryOfBytes(Uint8Array.of(byte)));
    const vocabulary = [...bytes, '<end>'];
    const info = await library.TokenizerInfo.createTokenizerInfo(
      vocabulary,
      'byte_level',
      false,
      vocabulary.length,
      [END],
    );
    return new Bytes(library, await library.GrammarCompiler.createGrammarCompiler(info));
  }

  async compile(tag: object): Promise<Compiled> {
    const compiled = await this.compiler.compileStructuralTag(JSON.stringify(tag));
    return new Compiled(() => this.library.GrammarMatcher.createGrammarMatcher(compiled));
  }
}

export class Compiled {
  constructor(private readonly matcher: () => Promise<Matcher>) {}

  async accepts(text: string): Promise<boolean> {
    const matcher = await this.matcher();
    try {
      return [...Buffer.from(text), END].every((byte) => matcher.acceptToken(byte));
    } finally {
      matcher.dispose();
    }
  }

  /** A text, byte by byte by `draw(count)`; null when it gets longer than `most`. */
  async sample(draw: (count: number) => number, most: number): Promise<string | null> {
    const matcher = await this.matcher();
    const bytes: number[] = [];
    try {
      for (;;) {
        const mask = await matcher.getNextTokenBitmask();
        const allowed: number[] = [];
        // ASCII where there is any: the library lets sequences through that are no UTF-8, and counts each as one
        // character; only the check of a whole answer sees those.
        for (let id = 0; id <= END; id++)
          if (((mask[id >> 5] ?? 0) >> (id & 31)) & 1) allowed.push(id);
        if (allowed.length === 0) throw new Error(`nothing may follow ${text(bytes)}`);
        // Ends where it can once it is long, and prefers what closes.
        const wantsEnd = bytes.length > most / 4;
        const closing = allowed.filter(
          (id) => id === END || '}]"'.includes(String.fromCharCode(id)),
        );
        const ascii = allowed.filter((id) => id < 0x80 || id === END);
        const from = wantsEnd && closing.length > 0 ? closing : ascii.length > 0 ? ascii : allowed;
        const id = from[draw(from.length)] ?? END;
        if (id === END) return text(bytes);
        if (bytes.length === most) return null;
        matcher.acceptToken(id);
        bytes.push(id);
      }
    } finally {
      matcher.dispose();
    }
  }
}

function text(bytes: readonly number[]): string {
  return Buffer.from(bytes).toString('utf8');
}

function load(): Library {
  const path = createRequire(import.meta.url).resolve('@mlc-ai/web-xgrammar');
  const module = { exports: {} };
  // As src/engine/grammar/worker.mjs does, and for its reason; it imports parts of Node while it runs.
  const run = compileFunction(
    readFileSync(path, 'utf8'),
    ['exports', 'require', 'module', '__filename', '__dirname'],
    { importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER },
  ) as (...args: unknown[]) => void;
  run(module.exports, createRequire(path), module, path, path.replace(/[\\/][^\\/]*$/, ''));
  return module.exports as Library;
}
