// What a conversation needs of whoever answers it: a running server, or an engine in this process.

import type { ChatMessage } from '../engine/types.js';

export interface ChatOptions {
  /** null: as the model's template decides. */
  thinking: boolean | null;
  /** null: as the model says. Tokens. */
  maxTokens: number | null;
  temperature: number | null;
  seed: number | null;
}

export type ChatEvent =
  /** Tokens of the prompt that were read, of all; told again and again until the first token. */
  | { type: 'reading'; done: number; total: number }
  | { type: 'text'; channel: 'content' | 'reasoning'; text: string }
  | {
      type: 'finish';
      reason: string;
      promptTokens: number;
      cachedTokens: number;
      completionTokens: number;
      tokensPerSecond: number;
      prefillSeconds: number;
    };

export interface ChatBackend {
  /** Id of the model that answers. */
  readonly model: string;
  /** Where it runs, for people: `server at 127.0.0.1:11435`, `this process`. */
  readonly place: string;
  /** Tokens; null when it isn't known. */
  readonly contextLength: number | null;
  /** Rejects with a FlashmoeError; ends early, without `finish`, after an abort. */
  answer(
    messages: readonly ChatMessage[],
    options: ChatOptions,
    signal: AbortSignal,
  ): AsyncIterable<ChatEvent>;
  close(): Promise<void>;
}
