// What passes between a prompt worker and its thread: one question at a time, each answered by one `answer`.

import type { ErrorCode } from '../../base/errors.js';
import type { Prompt, PromptRequest, TemplateText } from '../chat-template.js';
import type { ModelFiles } from '../model-files.js';

/** Where a thread reads tokenizer and template. */
export interface PromptSource {
  files: ModelFiles;
  /** Instead of the model's own template. */
  template?: TemplateText | null;
}

/** What there is to know of a model's template; null for a model that has none. */
export interface TemplateFacts {
  /** The template's text. */
  source: string;
  /** The control token with which it ends an assistant's turn; see ChatTemplate. */
  endOfTurn: number | null;
  turnEnds: readonly number[];
}

/** What a caller knows that a prompt must keep to. */
export interface PromptBounds {
  /** Nobody waits any more. */
  signal?: AbortSignal | undefined;
  /** ERR_CONTEXT for a prompt of more tokens than these, as early as that is known. */
  mostTokens?: number;
}

export type Question =
  | { type: 'prompt'; request: PromptRequest; mostTokens: number | null }
  | { type: 'encode'; text: string; mostTokens: number | null }
  /** The first, asked by the worker itself. */
  | { type: 'facts' };

/** The question under way is not to be answered any more. */
export interface Cancel {
  type: 'cancel';
}

export interface Answers {
  prompt: Prompt;
  encode: number[];
  facts: TemplateFacts | null;
}

export interface Failure {
  code: ErrorCode;
  message: string;
  subject: string | undefined;
  hint: string | undefined;
  figures: Readonly<Record<string, number>>;
}

/**
 * What a thread is at: each stage has a limit on its time. `loading` is over before the first question;
 * `characters` are those of the text that is encoded.
 */
export type Stage = { stage: 'loading' | 'rendering' } | { stage: 'encoding'; characters: number };

export type ThreadMessage =
  | ({ type: 'stage' } & Stage)
  | { type: 'answer'; value: Answers[keyof Answers] }
  | { type: 'failed'; failure: Failure };
