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

export type Question =
  | { type: 'prompt'; request: PromptRequest }
  | { type: 'encode'; text: string }
  /** The first, asked by the worker itself. */
  | { type: 'facts' };

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
