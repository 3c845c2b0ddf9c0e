// The thread's side: loads tokenizer and template, then renders and encodes what it is asked for. Whatever runs too
// long here, a template's loop or a split pattern of the tokenizer, is ended from outside.

import { parentPort, workerData } from 'node:worker_threads';
import { asFlashmoeError, FlashmoeError } from '../../base/errors.js';
import { loadChatTemplate, type ChatTemplate, type PromptRequest } from '../chat-template.js';
import { loadTokenizer } from '../tokenizer.js';
import type { Tokenizer } from '../tokenizer-types.js';
import type { PromptLimits } from './limits.js';
import type { Answers, Cancel, PromptSource, Question, ThreadMessage } from './protocol.js';
import { textPieces, type EncodedPiece } from '../text-pieces.js';

interface Loaded {
  tokenizer: Tokenizer;
  /** Bytes of the longest token. */
  longest: number;
  template: ChatTemplate | null;
}

const { source, limits } = workerData as { source: PromptSource; limits: PromptLimits };

async function load(): Promise<Loaded> {
  const tokenizer = await loadTokenizer(source.files);
  const template = await loadChatTemplate(source.files, tokenizer, source.template ?? null);
  let longest = 1;
  for (let id = 0; id < tokenizer.tokenLimit; id++) {
    longest = Math.max(longest, tokenizer.bytes(id).length);
  }
  return { tokenizer, template, longest };
}

/** Nobody waits for the answer to the question under way. */
let isCancelled = false;

async function answer(
  { tokenizer, template, longest }: Loaded,
  question: Question,
): Promise<Answers[keyof Answers]> {
  switch (question.type) {
    case 'facts': {
      if (template === null) return null;
      tell({ type: 'stage', stage: 'rendering' });
      const turnEnds = [...template.turnEnds()];
      return { source: template.source, endOfTurn: template.endOfTurn(), turnEnds };
    }
    case 'prompt': {
      if (template === null) throw noTemplate();
      checkLeast(leastBytes(question.request), longest, question.mostTokens);
      tell({ type: 'stage', stage: 'rendering' });
      const rendered = template.render(question.request);
      const { characters } = rendered;
      if (characters > limits.characters) throw tooLong(characters);
      const { text } = rendered;
      return { text, ids: await encoded(text, rendered.encode(), longest, question.mostTokens) };
    }
    case 'encode': {
      const { text } = question;
      return await encoded(text, encodedPieces(tokenizer, text), longest, question.mostTokens);
    }
  }
}

function* encodedPieces(tokenizer: Tokenizer, text: string): Generator<EncodedPiece, void> {
  for (const piece of textPieces(text)) {
    yield { ids: tokenizer.encodeText(piece), characters: piece.length };
  }
}

/**
 * Joins the pieces, listening between them. A text that can't fit is refused before the first, one that doesn't
 * when that is clear: up to twice the limit its tokens are counted, beyond that their number is an estimate.
 */
async function encoded(
  text: string,
  pieces: Generator<EncodedPiece, void>,
  longest: number,
  mostTokens: number | null,
): Promise<number[]> {
  const most = mostTokens ?? Infinity;
  checkLeast(Buffer.byteLength(text), longest, mostTokens);
  const characters = text.length;
  tell({ type: 'stage', stage: 'encoding', characters });
  const ids: number[] = [];
  let read = 0;
  let heard = 0;
  for (const piece of pieces) {
    // One at a time: a prompt has more ids than a call takes arguments.
    for (const id of piece.ids) ids.push(id);
    read += piece.characters;
    if (ids.length > 2 * most) {
      const estimate = Math.round((ids.length * characters) / read);
      throw tooMany(`about ${estimate}`, estimate, most);
    }
    if (read - heard < LISTEN_CHARACTERS) continue;
    await new Promise((resolve) => setImmediate(resolve));
    if (isCancelled)
      throw new FlashmoeError('ERR_INTERRUPTED', 'the prompt is not wanted any more');
    heard = read;
  }
  return ids;
}

/** No token has more bytes than the longest, so so many bytes have at least so many tokens. */
function checkLeast(bytes: number, longest: number, mostTokens: number | null): void {
  const least = Math.ceil(bytes / longest);
  if (mostTokens !== null && least > mostTokens)
    throw tooMany(`at least ${least}`, least, mostTokens);
}

/** Of what templates print whole; what an assistant said may be left out in part. */
function leastBytes({ messages }: PromptRequest): number {
  const told = messages.filter(({ role }) => role !== 'assistant');
  return told.reduce((sum, { content }) => sum + Buffer.byteLength(content.trim()), 0);
}

/** Characters encoded between two looks at whether somebody still waits: some tens of milliseconds. */
const LISTEN_CHARACTERS = 16_384;

function tooMany(words: string, promptTokens: number, contextLength: number): FlashmoeError {
  return new FlashmoeError(
    'ERR_CONTEXT',
    `the prompt has ${words} tokens, which is over the context of ${contextLength}`,
    { figures: { promptTokens, contextLength } },
  );
}

function noTemplate(): FlashmoeError {
  return new FlashmoeError('ERR_TEMPLATE', 'this model has no chat template', {
    subject: 'messages',
    hint: 'ask for a completion of plain text, or give a template with --chat-template',
  });
}

function tooLong(characters: number): FlashmoeError {
  return new FlashmoeError(
    'ERR_TEMPLATE',
    `the model's chat template made ${characters} characters; ${limits.characters} are the limit`,
    { subject: 'messages' },
  );
}

/** What calls itself too deeply is a text that no model reads: millions of characters in one word. */
function failureOf(thrown: unknown): FlashmoeError {
  if (!(thrown instanceof RangeError)) return asFlashmoeError(thrown);
  return new FlashmoeError('ERR_TEMPLATE', `the prompt cannot be encoded: ${thrown.message}`, {
    subject: 'messages',
  });
}

function tell(message: ThreadMessage): void {
  parentPort?.postMessage(message);
}

tell({ type: 'stage', stage: 'loading' });
const loaded = load();
// Told to whoever asks.
loaded.catch(() => undefined);

parentPort?.on('message', (question: Question | Cancel) => {
  isCancelled = question.type === 'cancel';
  if (question.type === 'cancel') return;
  loaded
    .then((parts) => answer(parts, question))
    .then(
      (value) => tell({ type: 'answer', value }),
      (thrown: unknown) => {
        const { code, message, subject, hint, figures } = failureOf(thrown);
        tell({ type: 'failed', failure: { code, message, subject, hint, figures } });
      },
    );
});
