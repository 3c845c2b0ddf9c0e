// Tokenizer of checkpoints that ship `tiktoken.model` (lines "base64 rank") instead of tokenizer.json.
// The file has no split pattern; this is the one its reference implementation compiles in.

import { FlashmoeError } from '../base/errors.js';
import { joinByRank } from './byte-pairs.js';
import type { ControlToken, Tokenizer } from './tokenizer-types.js';

const SPACE = String.raw`\p{White_Space}`;
const UPPER = String.raw`[[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]--\p{Script=Han}]`;
const LOWER = String.raw`[[\p{Ll}\p{Lm}\p{Lo}\p{M}]--\p{Script=Han}]`;
const LEAD = String.raw`[^\r\n\p{L}\p{N}]?`;
// Inline (?i:) is newer than the oldest Node we run on; U+017F folds to s in the reference.
const CONTRACTION = `(?:'[sS\u017f]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?`;
const SPLIT = [
  String.raw`\p{Script=Han}+`,
  `${LEAD}${UPPER}*${LOWER}+${CONTRACTION}`,
  `${LEAD}${UPPER}+${LOWER}*${CONTRACTION}`,
  String.raw`\p{N}{1,3}`,
  String.raw` ?[^${SPACE}\p{L}\p{N}]+[\r\n]*`,
  String.raw`${SPACE}*[\r\n]+`,
  String.raw`${SPACE}+(?!\P{White_Space})`,
  `${SPACE}+`,
].join('|');

/** Code points; the reference encodes longer text in pieces, and pieces don't merge across. */
const MAX_CHUNK = 400_000;
const MAX_RUN = 25_000;

/** @param path named in errors */
export function tiktokenTokenizer(
  file: string,
  controlTokens: readonly ControlToken[],
  path: string,
): Tokenizer {
  const ranks = new Map<string, number>();
  const texts = new Map<number, string>();
  for (const [index, line] of file.split('\n').entries()) {
    if (line === '') continue;
    const [, encoded, rank] = /^([A-Za-z0-9+/=]+) (\d+)\r?$/.exec(line) ?? [];
    if (encoded === undefined || rank === undefined) {
      throw new FlashmoeError(
        'ERR_MODEL_DAMAGED',
        `${path}: line ${index + 1} is not "base64 rank"`,
      );
    }
    const bytes = Buffer.from(encoded, 'base64').toString('latin1');
    ranks.set(bytes, Number(rank));
    texts.set(Number(rank), bytes);
  }
  const control = new Map(controlTokens.map((token) => [token.id, token]));
  let limit = 0;
  for (const id of [...texts.keys(), ...control.keys()]) limit = Math.max(limit, id + 1);
  const split = new RegExp(SPLIT, 'gv');

  return {
    encodeText: (text) =>
      chunks(text).flatMap((chunk) =>
        (chunk.match(split) ?? []).flatMap((piece) =>
          joinByRank(Buffer.from(piece, 'utf8').toString('latin1'), ranks),
        ),
      ),
    controlTokens,
    bytes(id) {
      const token = control.get(id);
      if (token !== undefined) return new TextEncoder().encode(token.content);
      return new Uint8Array(Buffer.from(texts.get(id) ?? '', 'latin1'));
    },
    tokenLimit: limit,
  };
}

/** Pieces of at most MAX_CHUNK code points, cut again where a run of (non-)space exceeds MAX_RUN. */
function chunks(text: string): string[] {
  if (text.length <= MAX_RUN) return [text];
  const points = Array.from(text);
  const result: string[] = [];
  for (let from = 0; from < points.length; from += MAX_CHUNK) {
    const end = Math.min(from + MAX_CHUNK, points.length);
    let start = from;
    let run = 0;
    let space = false;
    for (let i = from; i < end; i++) {
      const isSpace = /[\p{White_Space}\x1c-\x1f]/u.test(points[i] ?? '');
      run = i === from || isSpace !== space ? 1 : run + 1;
      space = isSpace;
      if (run > MAX_RUN) {
        result.push(points.slice(start, i).join(''));
        start = i;
        run = 1;
      }
    }
    result.push(points.slice(start, end).join(''));
  }
  return result;
}
