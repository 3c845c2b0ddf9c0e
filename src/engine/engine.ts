// A loaded model that answers: prompt, prefill, then token by token until the model, a stop string or a
// limit ends it. One generation at a time; what the last one left in the state is reused where it fits.

import { randomInt, randomUUID } from 'node:crypto';
import type { NativeEngine, NativeSession } from '../addon/types.js';
import { asFlashmoeError, FlashmoeError } from '../base/errors.js';
import { Answer } from './answer.js';
import type { Prompt } from './chat-template.js';
import type { GenerationSettings } from './generation-settings.js';
import { END_THINK, outputFormat, type OutputFormat } from './output-parser.js';
import { allBut, Constraint } from './grammar/constraint.js';
import { GrammarHost } from './grammar/host.js';
import { answerTag } from './grammar/tags.js';
import { tokenLogprob } from './logprobs.js';
import type { PromptWorker } from './prompt-worker/worker.js';
import { scoreTokens } from './score.js';
import { Session, type MarksOf, type PrefillEvent } from './session.js';
import type { StateStore } from './state-store.js';
import { TokenBias } from './token-bias.js';
import type { Vocabulary } from './tokenizer-types.js';
import { turnMarks } from './turns.js';
import type {
  AnswerRequest,
  ChatRequest,
  Engine,
  GenerateEvent,
  LoadedModel,
  Timings,
  TokenLogprob,
  TokensRequest,
  Usage,
} from './types.js';

export interface LocalEngineParts {
  native: NativeEngine;
  /** Made for `model.contextLength` tokens. */
  session: NativeSession;
  vocabSize: number;
  /** Of a session's state, what doesn't grow with its tokens. */
  fixedStateBytes: number;
  tokenizer: Vocabulary;
  /** Closed with the engine. */
  prompts: PromptWorker;
  settings: GenerationSettings;
  /** null: states live and go with the process. */
  store: StateStore | null;
  model: LoadedModel;
}

export class LocalEngine implements Engine {
  readonly model: LoadedModel;
  readonly #session: Session;
  readonly #format: OutputFormat;
  readonly #grammar: GrammarHost;
  readonly #turnEnds: ReadonlySet<number>;
  /** A request is counted before it is answered; its prompt is made once. */
  readonly #prompts = new WeakMap<AnswerRequest, Promise<Prompt>>();
  readonly #closing = new AbortController();
  /** Settles when the running generation is over; null when none runs. */
  #running: Promise<void> | null = null;

  constructor(private readonly parts: LocalEngineParts) {
    this.model = parts.model;
    this.#session = new Session(parts.session, parts.fixedStateBytes, parts.store);
    const { template } = parts.prompts;
    this.#format = template === null ? PLAIN : outputFormat(template.source);
    this.#turnEnds = new Set(template?.turnEnds);
    const { tokenizer, settings } = parts;
    const { markers } = this.#format;
    const hidden = tokenizer.controlTokens.filter(
      ({ special, content }) => special && !markers.includes(content),
    );
    const ids = new Set(hidden.map(({ id }) => id));
    this.#grammar = new GrammarHost(tokenizer, settings.stopIds, ids);
  }

  async countTokens(request: AnswerRequest): Promise<number> {
    return (await this.render(request)).ids.length;
  }

  async render(request: AnswerRequest): Promise<Prompt> {
    const prompt = await this.#prompt(request);
    this.#checkFits(prompt.ids.length, Math.min(request.maxTokens ?? 1, 1));
    return prompt;
  }

  tokenize(text: string): Promise<number[]> {
    return this.parts.prompts.encodeText(text);
  }

  detokenize(ids: readonly number[]): string {
    const { tokenizer } = this.parts;
    const wrong = ids.find((id) => !this.#isToken(id));
    if (wrong !== undefined) {
      throw new FlashmoeError('ERR_USAGE', `${wrong} is not a token id`, { subject: 'tokens' });
    }
    return Buffer.concat(ids.map((id) => tokenizer.bytes(id))).toString('utf8');
  }

  async *chat(request: AnswerRequest, signal: AbortSignal): AsyncGenerator<GenerateEvent, void> {
    const { ids, text } = await this.render(request);
    const { tokenizer, settings } = this.parts;
    const answer = new Answer({
      tokenizer,
      stopIds: settings.stopIds,
      stop: request.stop,
      parallelToolCalls: 'prompt' in request || (request.parallelToolCalls ?? true),
      format: 'prompt' in request ? PLAIN : this.#format,
      prompt: text,
      ...('prompt' in request || request.goOn !== true ? {} : { goesOn: true }),
      tools: 'prompt' in request ? [] : request.tools,
      newCallId: () => `call_${randomUUID().replaceAll('-', '').slice(0, 24)}`,
    });
    const constraint = await this.#constraint(request, answer.inReasoning);
    const timings = noTime();
    let cachedTokens = 0;
    const asked: Asked = {
      ...request,
      maxTokens: request.maxTokens ?? Infinity,
      marksOf: (cached) => this.#marks(request, ids, cached),
      forced: await this.#closingOf(request, answer),
      ...(constraint === null ? {} : { constraint, inReasoning: () => answer.inReasoning }),
    };
    for await (const event of this.#tokens(ids, asked, timings, signal)) {
      if (event.type === 'prefilled') cachedTokens = event.cachedTokens;
      else if (event.type === 'prefill') yield event;
      else {
        const said = answer.push(event.id, event.logprob);
        yield { type: 'decode', done: answer.completionTokens };
        yield* said;
        if (answer.ended) break;
      }
    }
    const { events, reason, logprobs } = answer.end();
    yield* events;
    const { completionTokens, reasoningTokens, stopSequence } = answer;
    const usage = { promptTokens: ids.length, cachedTokens, completionTokens, reasoningTokens };
    if (constraint !== null) timings.grammar = constraint.timings;
    const late = logprobs.length > 0 ? { logprobs } : {};
    yield { type: 'finish', reason, stopSequence, ...late, usage, timings };
  }

  async score(tokens: readonly number[], outer: AbortSignal): Promise<number[]> {
    const signal = AbortSignal.any([outer, this.#closing.signal]);
    const leave = this.#enter();
    try {
      return await scoreTokens(this.parts.native, tokens, signal);
    } catch (thrown) {
      throwIfAborted(signal);
      throw asFlashmoeError(thrown);
    } finally {
      leave();
    }
  }

  async *continueTokens(
    request: TokensRequest,
    signal: AbortSignal,
  ): AsyncGenerator<GenerateEvent, void> {
    const { tokens, maxTokens } = request;
    const wrong = tokens.find((id) => !this.#isToken(id));
    if (tokens.length === 0 || wrong !== undefined) {
      const what = tokens.length === 0 ? 'there are no tokens' : `${wrong} is not a token id`;
      throw new FlashmoeError('ERR_USAGE', `${what} to continue`, { subject: 'tokens' });
    }
    this.#checkFits(tokens.length, maxTokens);
    const usage: Usage = {
      promptTokens: tokens.length,
      cachedTokens: 0,
      completionTokens: 0,
      reasoningTokens: 0,
    };
    const timings = noTime();
    const asked: Asked = { ...request, marksOf: () => Promise.resolve([]) };
    for await (const event of this.#tokens(tokens, asked, timings, signal)) {
      if (event.type === 'prefilled') usage.cachedTokens = event.cachedTokens;
      else if (event.type === 'prefill') yield event;
      else {
        usage.completionTokens++;
        yield { type: 'token', id: event.id };
      }
    }
    yield { type: 'finish', reason: 'length', stopSequence: null, usage, timings };
  }

  /** Ends a running generation with ERR_INTERRUPTED and lets go of the model. */
  async close(): Promise<void> {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort(new FlashmoeError('ERR_INTERRUPTED', 'the engine is closing'));
    await this.#running;
    await this.parts.prompts.close();
    await this.#grammar.close();
    await this.#session.close();
    this.parts.native.close();
  }

  /** The loop under both kinds of generation. A consumer that has enough leaves it with `break`. */
  async *#tokens(
    prompt: readonly number[],
    asked: Asked,
    timings: Timings,
    outer: AbortSignal,
  ): AsyncGenerator<PrefillEvent | ChosenToken, void> {
    const signal = AbortSignal.any([outer, this.#closing.signal]);
    const limit = Math.min(asked.maxTokens, this.model.contextLength - prompt.length);
    const leave = this.#enter();
    try {
      throwIfAborted(signal);
      if (limit <= 0) return;
      yield* this.#session.prefill(prompt, asked.marksOf, timings, signal);
      if (asked.again === true) this.#session.keep();
      const sampling = { ...this.parts.settings.sampling, ...asked.sampling };
      const bias = new TokenBias(sampling, prompt);
      this.#session.seed(sampling.seed ?? randomInt(2 ** 47));
      for (let made = 1; ; made++) {
        throwIfAborted(signal);
        const { temperature, topP, topK, minP } = sampling;
        const inReasoning = asked.inReasoning?.() ?? false;
        const allowed = (await asked.constraint?.allowed(inReasoning)) ?? null;
        const params = {
          temperature,
          topP,
          topK,
          minP,
          allowed,
          bias: bias.values(() => this.#session.logits()),
        };
        const id = asked.forced?.() ?? this.#session.sample(params);
        bias.add(id);
        // The next mask is made while the token is decoded.
        if (!this.parts.settings.stopIds.has(id)) asked.constraint?.chosen(id, inReasoning);
        yield { type: 'token', id, logprob: this.#logprob(id, asked.topLogprobs) };
        if (made === limit) return;
        await this.#session.decode(id, timings);
      }
    } finally {
      this.#session.finish();
      leave();
    }
  }

  #enter(): () => void {
    if (this.#running !== null) {
      throw new FlashmoeError('ERR_LOCKED', 'the engine is answering another request');
    }
    let over!: () => void;
    this.#running = new Promise((resolve) => (over = resolve));
    return () => {
      this.#running = null;
      over();
    };
  }

  #prompt(request: AnswerRequest): Promise<Prompt> {
    const made = this.#prompts.get(request) ?? this.#makePrompt(request);
    this.#prompts.set(request, made);
    return made;
  }

  async #makePrompt(request: AnswerRequest): Promise<Prompt> {
    const strange = Object.keys(request.sampling.logitBias ?? {}).find(
      (id) => !this.#isToken(Number(id)),
    );
    if (strange !== undefined) {
      const what = `logit_bias: ${strange} is not a token id`;
      throw new FlashmoeError('ERR_TEMPLATE', what, { subject: 'logit_bias' });
    }
    if ('prompt' in request) return await this.#plainPrompt(request.prompt);
    const { prompts } = this.parts;
    if (prompts.template !== null && request.tools.length > 0 && this.#format.calls === null) {
      throw new FlashmoeError(
        'ERR_TEMPLATE',
        'tool calls in the form of this model are not supported',
        {
          subject: 'tools',
        },
      );
    }
    const { goOn = false, format, toolChoice = 'auto' } = request;
    if (goOn && (format !== undefined || toolChoice !== 'auto')) {
      throw new FlashmoeError(
        'ERR_GRAMMAR',
        'an answer that goes on from a beginning cannot be held to a format or a tool call',
        { subject: format === undefined ? 'tool_choice' : 'response_format' },
      );
    }
    // Refuses what can't be enforced.
    answerTag(request, this.#format.calls, false);
    return await prompts.prompt(request);
  }

  /** Of a prompt that is read from `cached` on. */
  async #marks(request: AnswerRequest, ids: readonly number[], cached: number): Promise<number[]> {
    if ('prompt' in request) return [];
    return await turnMarks(ids, this.#turnEnds, cached, async () => {
      const answer = { role: 'assistant' as const, content: 'answer' };
      const question = { role: 'user' as const, content: 'question' };
      const messages = [...request.messages, answer, question];
      return (await this.parts.prompts.tryPrompt({ ...request, messages }))?.ids ?? null;
    });
  }

  async #plainPrompt(prompt: string | number[]): Promise<Prompt> {
    if (prompt.length === 0) {
      throw new FlashmoeError('ERR_TEMPLATE', 'the prompt is empty', { subject: 'prompt' });
    }
    if (typeof prompt === 'string') {
      return { text: '', ids: await this.parts.prompts.encodeText(prompt) };
    }
    const wrong = prompt.find((id) => !this.#isToken(id));
    if (wrong !== undefined)
      throw new FlashmoeError('ERR_TEMPLATE', `${wrong} is not a token id`, { subject: 'prompt' });
    return { text: '', ids: prompt };
  }

  #isToken(id: number): boolean {
    return Number.isInteger(id) && id >= 0 && id < this.parts.vocabSize;
  }

  #checkFits(promptTokens: number, maxTokens: number): void {
    const { contextLength } = this.model;
    if (promptTokens + maxTokens <= contextLength) return;
    throw new FlashmoeError(
      'ERR_CONTEXT',
      `the prompt has ${promptTokens} tokens, and with ${maxTokens} more it is over the ` +
        `context of ${contextLength}`,
      { figures: { promptTokens, contextLength } },
    );
  }

  /** Null where everything is left to the model. */
  async #constraint(request: AnswerRequest, thinks: boolean): Promise<Constraint | null> {
    if ('prompt' in request) return null;
    const { calls } = this.#format;
    const tag = answerTag(request, calls, thinks);
    if (tag === null) return null;
    const { tokenizer, settings } = this.parts;
    const openings = new Set([calls?.open, calls?.section?.open]);
    const early = tokenizer.controlTokens.filter(({ content }) => openings.has(content));
    const never = [...settings.stopIds, ...early.map(({ id }) => id)];
    return new Constraint(await this.#grammar.start(tag), allBut(never, tokenizer.tokenLimit));
  }

  /** Ends a thought that has used up its budget with the mark that the model ends its own thoughts with. */
  async #closingOf(request: AnswerRequest, answer: Answer): Promise<() => number | null> {
    const budget = 'prompt' in request ? Infinity : (request.thinkingBudget ?? Infinity);
    if (budget === Infinity) return () => null;
    const { tokenizer, prompts } = this.parts;
    const mark = tokenizer.controlTokens.find(({ content }) => content === END_THINK);
    const ids = mark === undefined ? await prompts.encodeText(END_THINK) : [mark.id];
    let said = 0;
    return () => {
      if (!answer.inReasoning || answer.reasoningTokens < budget) return null;
      return ids[said++] ?? null;
    };
  }

  #logprob(id: number, count: number | undefined): TokenLogprob | null {
    if (count === undefined) return null;
    return tokenLogprob(id, this.#session.logits(), count, this.parts.tokenizer);
  }
}

/** What both kinds of generation ask of the loop. */
type Asked = Pick<ChatRequest, 'sampling' | 'topLogprobs' | 'again'> & {
  maxTokens: number;
  marksOf: MarksOf;
  constraint?: Constraint;
  inReasoning?: () => boolean;
  /** A token that comes next whatever the model would say; null for none. */
  forced?: () => number | null;
};

interface ChosenToken {
  type: 'token';
  id: number;
  logprob: TokenLogprob | null;
}

/** Plain text is passed on as it comes. */
const PLAIN: OutputFormat = { reasoning: false, calls: null, markers: [] };

function noTime(): Timings {
  return { prefillSeconds: 0, decodeSeconds: 0, expertBytesRead: 0 };
}

function throwIfAborted(signal: AbortSignal): void {
  if (!signal.aborted) return;
  const reason: unknown = signal.reason;
  if (reason instanceof FlashmoeError) throw reason;
  throw new FlashmoeError('ERR_INTERRUPTED', 'the generation was cancelled', { cause: reason });
}
