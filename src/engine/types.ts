// What the server, the known-answer step and `flashmoe run` see of an engine. Token ids, templates
// and native sessions stay below this line; wire formats of any API stay above it.

import type { MemoryPlan } from '../models/memory-plan.js';

export interface ToolCall {
  id: string;
  name: string;
  /** Already typed by the tool's schema. */
  arguments: Record<string, unknown>;
}

export interface ToolDefinition {
  name: string;
  description?: string;
  /** JSON schema of the arguments object. */
  parameters?: Record<string, unknown>;
  /** Arguments are held to the schema by a grammar. */
  strict?: boolean;
}

export interface ChatMessage {
  role: 'system' | 'user' | 'assistant' | 'tool';
  content: string;
  reasoning?: string;
  toolCalls?: ToolCall[];
  toolCallId?: string;
  name?: string;
}

export interface Sampling {
  /** 0 = greedy. */
  temperature: number;
  topP: number;
  topK: number;
  minP: number;
  seed: number | null;
  /** Taken off the logit of every token that the answer holds already; 0 = none. */
  presencePenalty: number;
  /** Taken off once for each time the answer holds the token. */
  frequencyPenalty: number;
  /** Divides positive logits of tokens in prompt and answer, multiplies negative ones (CTRL, Keskar et al. 2019); 1 = none. */
  repetitionPenalty: number;
  /** Added to the logits of these token ids. */
  logitBias: Readonly<Record<number, number>>;
}

/** Natural logarithms, of the model's own distribution: before temperature, bias and grammar. */
export interface TokenLogprob {
  text: string;
  bytes: number[];
  logprob: number;
  /** Most probable first. */
  top: Omit<TokenLogprob, 'top'>[];
}

export interface ChatRequest {
  messages: ChatMessage[];
  tools: ToolDefinition[];
  /**
   * What the answer must hold, whatever the model would rather say: a call of some tool, or of this one.
   * Default auto.
   */
  toolChoice?: 'auto' | 'required' | { name: string };
  /** The content's form, held by a grammar. ERR_GRAMMAR for a schema that can't be. */
  format?:
    | { type: 'json-object' }
    | { type: 'json-schema'; schema: Record<string, unknown> }
    | { type: 'choice'; choices: readonly string[] }
    | { type: 'regex'; pattern: string };
  /** The last message is the assistant's own beginning of the answer, which goes on from its last character. */
  goOn?: boolean;
  /** False: the answer ends with its first call. Default true. */
  parallelToolCalls?: boolean;
  /** null = the model's template decides. */
  thinking: boolean | null;
  /** Tokens of thinking after which the thought is closed; absent: no limit. */
  thinkingBudget?: number;
  /** Further variables of the model's template, e.g. preserve_thinking. */
  templateVariables?: Readonly<Record<string, boolean | number | string>>;
  /** null = up to the context limit. */
  maxTokens: number | null;
  stop: string[];
  /** Absent fields fall back to generation_config.json. */
  sampling: Partial<Sampling>;
  /** Alternatives to tell of beside each token of the content; absent: no probabilities at all. */
  topLogprobs?: number;
  /** The same prompt is asked again right after this answer: its state is worth keeping. */
  again?: boolean;
}

/** Text that goes on, without a template: no roles, no thinking, no calls. */
export type TextRequest = {
  /** Text, or ids. */
  prompt: string | number[];
} & Pick<ChatRequest, 'maxTokens' | 'stop' | 'sampling' | 'topLogprobs' | 'again'>;

export type AnswerRequest = ChatRequest | TextRequest;

/** Tokens in, tokens out: no template, no stop strings or ids, always maxTokens. For known answers. */
export interface TokensRequest {
  tokens: number[];
  maxTokens: number;
  sampling: Partial<Sampling>;
}

export interface Usage {
  promptTokens: number;
  /** Of promptTokens, taken from a saved state instead of computed. */
  cachedTokens: number;
  completionTokens: number;
  reasoningTokens: number;
}

export interface Timings {
  prefillSeconds: number;
  decodeSeconds: number;
  expertBytesRead: number;
  /**
   * Experts that layers asked for, those of them in memory already, how often computing stood still for one, and the bytes of
   * all of them, read or not.
   */
  experts?: { uses: number; hits: number; waits: number; bytes: number };
  /** Of an answer computed by a GPU: how often and how long its host waited for it. */
  device?: { waits: number; waitSeconds: number };
  /** Of an answer held by a grammar. Masks are made beside decoding, so their time is not added to it. */
  grammar?: { compileSeconds: number; maskSeconds: number; masks: number };
}

export type FinishReason = 'stop' | 'length' | 'tool_calls';

export type GenerateEvent =
  | { type: 'prefill'; done: number; total: number }
  /** Tokens generated so far, told before what the last of them says. */
  | { type: 'decode'; done: number }
  /** Never empty, never half a UTF-8 sequence. */
  | {
      type: 'text';
      channel: 'content' | 'reasoning';
      text: string;
      /** Of the content's tokens since the last one that told of them. */
      logprobs?: TokenLogprob[];
    }
  /** A call begins; the next one only after all pieces of this one's arguments. */
  | { type: 'tool-call'; index: number; id: string; name: string }
  /** Next piece of the arguments' JSON; never empty. Cut off at a limit, the pieces are no whole JSON. */
  | { type: 'tool-arguments'; index: number; json: string }
  | { type: 'token'; id: number }
  | {
      type: 'finish';
      reason: FinishReason;
      stopSequence: string | null;
      /** Of the content's last tokens, where they could not be told beside their text. */
      logprobs?: TokenLogprob[];
      usage: Usage;
      timings: Timings;
    };

export interface LoadedModel {
  id: string;
  repo: string;
  quant: string;
  /** Tokens. */
  contextLength: number;
  expertsPerToken: number;
  /** Answers at once; absent: one. */
  sessions?: number;
  backend: string;
  /** Why the CPU computes on a machine with a GPU that was not refused; null when all is as expected. */
  gpuMissing: string | null;
  /** How memory is shared out; absent or null: not planned. */
  memory?: MemoryPlan | null;
  isa: string;
  denseBytes: number;
  expertBytesPerToken: number;
}

export interface ExpertsInMemory {
  held: number;
  /** Memory that they stay in. */
  bytes: number;
}

/** Requests that can be answered: their prompts are made and fit, their grammar is compiled. */
export interface Prepared {
  /** Of each request, as the model reads it: text for people, and ids. */
  readonly prompts: readonly { text: string; ids: readonly number[] }[];
  /** Answers one of the requests, by its index. */
  answer(index: number, signal: AbortSignal): AsyncIterable<GenerateEvent>;
  /** Lets go of what it holds, answered or not; calling it again does nothing. */
  release(): void;
}

/** One loaded model. So many generations run at a time as it has sessions; the caller queues. Errors are FlashmoeErrors. */
export interface Engine {
  readonly model: LoadedModel;
  /** Experts in memory now; null: the model has none, or they stay where their files are mapped. */
  experts?(): ExpertsInMemory | null;
  /**
   * Number of prompt tokens. Throws ERR_CONTEXT, with figures promptTokens and contextLength, when the
   * context has no room for the prompt and one token more, and ERR_TEMPLATE when the model's template refuses
   * the conversation. A larger maxTokens is no error: the answer then ends with the context.
   */
  countTokens(request: AnswerRequest, signal?: AbortSignal): Promise<number>;
  /**
   * Does all that can be done before it is a request's turn, beside a running generation. Throws what countTokens
   * throws, and ERR_GRAMMAR for a form that can't be held or whose grammar takes too long.
   * @param requests for one prompt or several, with one form of answer
   */
  prepare(requests: readonly AnswerRequest[], signal: AbortSignal): Promise<Prepared>;
  /** Prepares and answers. */
  chat(request: AnswerRequest, signal: AbortSignal): AsyncIterable<GenerateEvent>;
  /** The prompt as the model reads it: text for people, and ids. Throws what countTokens throws. */
  render(request: AnswerRequest, signal?: AbortSignal): Promise<{ text: string; ids: number[] }>;
  /** Ids of plain text; never those of control tokens. */
  tokenize(text: string, signal?: AbortSignal): Promise<number[]>;
  /** Text of ids, control tokens spelled out. ERR_USAGE for an id that is no token. */
  detokenize(ids: readonly number[]): string;
  /**
   * Natural logarithm of the probability of each token after those before it: one figure fewer than tokens. Nothing is sampled
   * and no state is kept. ERR_CONTEXT for more tokens than fit.
   */
  score(tokens: readonly number[], signal: AbortSignal): Promise<number[]>;
  /** Emits `token` events instead of text. */
  continueTokens(request: TokensRequest, signal: AbortSignal): AsyncIterable<GenerateEvent>;
  close(): Promise<void>;
}
