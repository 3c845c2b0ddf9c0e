// Runs a text through a model while its engine adds up squares of what the experts' weights are multiplied with.

import { runJob } from '../addon/load.js';
import type { ChannelSquares, NativeEngine } from '../addon/types.js';
import { FlashmoeError } from '../base/errors.js';

/** Tokens of a piece of text: each is read from an empty state, and costs every expert that it chooses once. */
const PIECE_TOKENS = 1_024;
/** A shorter end of a text is left out: its tokens have seen too little before them. */
const LEAST_TOKENS = 64;

export interface CalibrationText {
  native: NativeEngine;
  /** Token ids of one text each. */
  texts: readonly (readonly number[])[];
  /** What comes after so many is left out. */
  mostTokens: number;
  signal: AbortSignal;
  onProgress: (done: number, total: number) => void;
}

/** Sums by layer, for layers with routed experts. ERR_USAGE for texts without a piece that is long enough. */
export async function observeTexts(
  options: CalibrationText,
): Promise<{ layers: Map<number, ChannelSquares>; tokens: number }> {
  const { native, signal, onProgress } = options;
  const pieces = piecesOf(options);
  const tokens = pieces.reduce((sum, { length }) => sum + length, 0);
  if (tokens === 0) {
    throw new FlashmoeError('ERR_USAGE', `the text has no piece of ${LEAST_TOKENS} tokens`, {
      hint: 'calibrate with some pages of what the model will be used for',
      subject: '--text',
    });
  }
  native.observe();
  const session = native.createSession(Math.min(PIECE_TOKENS, native.info().maxPositions));
  try {
    let done = 0;
    for (const piece of pieces) {
      session.reset();
      const tell = (within: number): void => onProgress(done + within, tokens);
      await runJob(session.prefill(Int32Array.from(piece), tell), signal);
      done += piece.length;
    }
  } finally {
    session.close();
  }
  const layers = new Map<number, ChannelSquares>();
  for (let layer = 0; layer < native.info().layers; layer += 1) {
    const squares = native.squares(layer);
    if (squares !== null) layers.set(layer, squares);
  }
  return { layers, tokens };
}

function piecesOf({ native, texts, mostTokens }: CalibrationText): number[][] {
  const size = Math.min(PIECE_TOKENS, native.info().maxPositions);
  const pieces: number[][] = [];
  let left = mostTokens;
  for (const text of texts) {
    for (let at = 0; at < text.length; at += size) {
      const piece = text.slice(at, at + Math.min(size, left));
      if (piece.length < LEAST_TOKENS) break;
      pieces.push(piece);
      left -= piece.length;
    }
  }
  return pieces;
}
