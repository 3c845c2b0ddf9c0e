// A loaded model that answers: prompt, prefill, then token by token until the model, a stop string or a
// limit ends it. As many generations at a time as there are sessions; what the last one left in a session's state is
// reused where it fits. Which of them computes next is decided in native code, between tokens and between layers.
// Over 400 lines: an answer's states, from prompt to last event, follow one another in one class.

import { randomInt, randomUUID } from 'node:crypto';
import type { NativeEngine, NativeSession } from '../addon/types.js';
import { asFlashmoeError, FlashmoeError } from '../base/errors.js';
import { Answer } from './answer.js';
import type { Prompt } from './chat-template.js';
import type { ElasticMemory } from './elastic-memory.js';
import type { GenerationSettings } from './generation-settings.js';
import { outputFormat, type OutputFormat } from './output-parser.js';
import { allBut, Constraint } from './grammar/constraint.js';
import { GrammarHost, type GrammarRun } from './grammar/host.js';
import { Hearing } from './grammar/said.js';
import { isHeld } from './grammar/tags.js';
import { tokenLogprob } from './logprobs.js';
import type { PromptBounds } from './prompt-worker/protocol.js';
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
  ExpertsInMemory,
  GenerateEvent,
  LoadedModel,
  Prepared,
  Timings,
  TokenLogprob,
  TokensRequest,
  Usage,
} from './types.js';

export interface LocalEngineParts {
  /** Before the native engine goes. */
  onClose?: () => void;
  native: NativeEngine;
  /** Made for `model.contextLength` tokens. */
  session: NativeSession;
  /** As large as `session`: so many more answers at once. */
  further?: readonly NativeSession[];
  /** Looked at between requests; null or absent: what experts stay in never changes. */
  elastic?: ElasticMemory | null;
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
  /** Idle ones; the one used last comes last. */
  readonly #free: Session[];
  readonly #format: OutputFormat;
  readonly #grammar: GrammarHost;
  readonly #turnEnds: ReadonlySet<number>;
  readonly #closing = new AbortController();
  /** Each settles when a running generation is over. */
  readonly #running = new Set<Promise<void>>();

  constructor(private readonly parts: LocalEngineParts) {
    this.model = parts.model;
    this.#free = [parts.session, ...(parts.further ?? [])].map(
      (native) => new Session(native, parts.fixedStateBytes, parts.store),
    );
    const { template } = parts.prompts;
    this.#format = template === null ? PLAIN : outputFormat(template.source);
    this.#turnEnds = new Set(template?.turnEnds);
    const { tokenizer, settings } = parts;
    const { markers } = this.#format;
    const hidden = tokenizer.controlTokens.filter(
      ({ special, content }) => special && !markers.includes(content),
    );
    const ids = new Set(hidden.map(({ id }) => id));
    this.#grammar = new GrammarHost(tokenizer, settings.stopIds, ids, template?.source ?? null);
    parts.elastic?.start(() => this.#running.size === 0);
  }

  async countTokens(request: AnswerRequest, signal?: AbortSignal): Promise<number> {
    return (await this.render(request, signal)).ids.length;
  }

  async render(request: AnswerRequest, signal?: AbortSignal): Promise<Prompt> {
    const prompt = await this.#makePrompt(request, signal);
    this.#checkFits(prompt.ids.length, Math.min(request.maxTokens ?? 1, 1));
    return prompt;
  }

  tokenize(text: string, signal?: AbortSignal): Promise<number[]> {
    return this.parts.prompts.encodeText(text, { signal });
  }

  async prepare(requests: readonly AnswerRequest[], outer: AbortSignal): Promise<Prepared> {
    const signal = AbortSignal.any([outer, this.#closing.signal]);
    const prompts: Prompt[] = [];
    for (const request of requests) {
      const same = requests.findIndex((other) => hasSamePrompt(other, request));
      prompts.push(prompts[same] ?? (await this.render(request, signal)));
    }
    const [first] = requests;
    const grammar =
      first === undefined ? null : await this.#startGrammar(first, prompts[0], signal);
    return {
      prompts,
      answer: (index, its) => {
        const [request, prompt] = [requests[index], prompts[index]];
        if (request === undefined || prompt === undefined)
          throw new RangeError(`no request ${index}`);
        return this.#answer(request, prompt, grammar, its);
      },
      release: () => grammar?.release(),
    };
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
    const prepared = await this.prepare([request], signal);
    try {
      yield* prepared.answer(0, signal);
    } finally {
      prepared.release();
    }
  }

  async *#answer(
    request: AnswerRequest,
    { ids, text }: Prompt,
    grammar: GrammarRun | null,
    signal: AbortSignal,
  ): AsyncGenerator<GenerateEvent, void> {
    const answer = this.#newAnswer(request, text);
    grammar?.begin();
    const constraint = grammar === null ? null : new Constraint(grammar, this.#whileThinking());
    const heard = grammar === null ? null : new Hearing();
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
        for (const each of said) heard?.push(each);
        yield* said;
        if (answer.ended) break;
      }
    }
    const { events, reason, logprobs } = answer.end();
    for (const each of events) heard?.push(each);
    yield* events;
    if (reason !== 'length' && heard !== null) await grammar?.check(heard);
    const { completionTokens, reasoningTokens, stopSequence } = answer;
    const usage = { promptTokens: ids.length, cachedTokens, completionTokens, reasoningTokens };
    if (constraint !== null) timings.grammar = constraint.timings;
    const late = logprobs.length > 0 ? { logprobs } : {};
    yield { type: 'finish', reason, stopSequence, ...late, usage, timings };
  }

  async score(tokens: readonly number[], outer: AbortSignal): Promise<number[]> {
    const signal = AbortSignal.any([outer, this.#closing.signal]);
    const { leave } = this.#enter(tokens);
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
  experts(): ExpertsInMemory | null {
    const { expertPoolBytes: bytes, expertsHeld: held } = this.parts.native.info();
    return bytes === 0 ? null : { held, bytes };
  }

  async close(): Promise<void> {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort(new FlashmoeError('ERR_INTERRUPTED', 'the engine is closing'));
    await Promise.all(this.#running);
    await this.parts.elastic?.stop();
    await this.parts.prompts.close();
    await this.#grammar.close();
    await Promise.all(this.#free.map((session) => session.close()));
    this.parts.onClose?.();
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
    const { session, leave } = this.#enter(prompt);
    try {
      throwIfAborted(signal);
      if (limit <= 0) return;
      yield* session.prefill(prompt, asked.marksOf, timings, signal);
      if (asked.again === true) session.keep();
      const sampling = { ...this.parts.settings.sampling, ...asked.sampling };
      const bias = new TokenBias(sampling, prompt);
      session.seed(sampling.seed ?? randomInt(2 ** 47));
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
          bias: bias.values(() => session.logits()),
        };
        const id = asked.forced?.() ?? session.sample(params);
        bias.add(id);
        // The next mask is made while the token is decoded.
        if (!this.parts.settings.stopIds.has(id)) asked.constraint?.chosen(id, inReasoning);
        yield { type: 'token', id, logprob: this.#logprob(id, asked.topLogprobs, session) };
        if (made === limit) return;
        await session.decode(id, timings);
      }
    } finally {
      session.finish();
      leave();
    }
  }

  /** The idle session that has most of the prompt. ERR_LOCKED when all are answering. */
  #enter(prompt: readonly number[]): { session: Session; leave: () => void } {
    const shared = this.#free.map((session) => session.shares(prompt));
    // Of equals the one that was used longest ago: another conversation may come back to the other.
    const [session] = this.#free.splice(shared.indexOf(Math.max(...shared)), 1);
    if (session === undefined) {
      throw new FlashmoeError('ERR_LOCKED', 'the engine is answering other requests');
    }
    let over!: () => void;
    const running = new Promise<void>((resolve) => (over = resolve));
    this.#running.add(running);
    return {
      session,
      leave: () => {
        this.#free.push(session);
        this.#running.delete(running);
        if (this.#running.size === 0 && !this.#closing.signal.aborted)
          void this.parts.elastic?.look();
        over();
      },
    };
  }

  async #makePrompt(request: AnswerRequest, signal?: AbortSignal): Promise<Prompt> {
    const strange = Object.keys(request.sampling.logitBias ?? {}).find(
      (id) => !this.#isToken(Number(id)),
    );
    if (strange !== undefined) {
      const what = `logit_bias: ${strange} is not a token id`;
      throw new FlashmoeError('ERR_TEMPLATE', what, { subject: 'logit_bias' });
    }
    const bounds = { signal, mostTokens: this.model.contextLength };
    if ('prompt' in request) return await this.#plainPrompt(request.prompt, bounds);
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
    return await prompts.prompt(request, bounds);
  }

  /** Of a prompt that is read from `cached` on. */
  async #marks(request: AnswerRequest, ids: readonly number[], cached: number): Promise<number[]> {
    if ('prompt' in request) return [];
    const question = { role: 'user' as const, content: 'question' };
    const idsOf = async (messages: ChatRequest['messages']): Promise<number[] | null> =>
      (await this.parts.prompts.tryPrompt({ ...request, messages }))?.ids ?? null;
    return await turnMarks(ids, this.#turnEnds, cached, {
      withNextQuestion: () =>
        idsOf([...request.messages, { role: 'assistant', content: 'answer' }, question]),
      withOtherSystem: async () => {
        if (request.tools.length === 0 || request.messages[0]?.role !== 'system') return [];
        const made: number[][] = [];
        // Two, so that one of them departs where the text begins.
        for (const content of ['instruction', 'You are another.']) {
          const other = await idsOf([{ role: 'system', content }, question]);
          if (other !== null) made.push(other);
        }
        return made;
      },
    });
  }

  async #plainPrompt(prompt: string | number[], bounds: PromptBounds): Promise<Prompt> {
    if (prompt.length === 0) {
      throw new FlashmoeError('ERR_TEMPLATE', 'the prompt is empty', { subject: 'prompt' });
    }
    if (typeof prompt === 'string') {
      return { text: '', ids: await this.parts.prompts.encodeText(prompt, bounds) };
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

  #newAnswer(request: AnswerRequest, prompt: string): Answer {
    const { tokenizer, settings } = this.parts;
    const isChat = !('prompt' in request);
    return new Answer({
      tokenizer,
      stopIds: settings.stopIds,
      stop: request.stop,
      parallelToolCalls: !isChat || (request.parallelToolCalls ?? true),
      format: isChat ? this.#format : PLAIN,
      prompt,
      goesOn: isChat && request.goOn === true,
      tools: isChat ? request.tools : [],
      newCallId: () => `call_${randomUUID().replaceAll('-', '').slice(0, 24)}`,
    });
  }

  /** Null where everything is left to the model. */
  async #startGrammar(
    request: AnswerRequest,
    prompt: Prompt | undefined,
    signal: AbortSignal,
  ): Promise<GrammarRun | null> {
    if ('prompt' in request || prompt === undefined) return null;
    const thinks = this.#newAnswer(request, prompt.text).inReasoning;
    if (!isHeld(request, this.#format.calls)) return null;
    return await this.#grammar.startFor(request, thinks, signal);
  }

  /** Bits of the tokens that a thought may hold: it doesn't end the answer, nor begin a call. */
  #whileThinking(): Int32Array {
    const { calls } = this.#format;
    const { tokenizer, settings } = this.parts;
    const openings = new Set([calls?.open, calls?.section?.open, ...this.#format.notInThoughts]);
    const early = tokenizer.controlTokens.filter(({ content }) => openings.has(content));
    const never = [...settings.stopIds, ...early.map(({ id }) => id)];
    return allBut(never, tokenizer.tokenLimit);
  }

  /** Ends a thought that has used up its budget with the mark that the model ends its own thoughts with. */
  async #closingOf(request: AnswerRequest, answer: Answer): Promise<() => number | null> {
    const budget = 'prompt' in request ? Infinity : (request.thinkingBudget ?? Infinity);
    if (budget === Infinity) return () => null;
    const { tokenizer, prompts } = this.parts;
    const mark = tokenizer.controlTokens.find(
      ({ content }) => content === this.#format.endOfThought,
    );
    const ids =
      mark === undefined ? await prompts.encodeText(this.#format.endOfThought) : [mark.id];
    let said = 0;
    return () => {
      if (!answer.inReasoning || answer.reasoningTokens < budget) return null;
      return ids[said++] ?? null;
    };
  }

  #logprob(id: number, count: number | undefined, session: Session): TokenLogprob | null {
    if (count === undefined) return null;
    return tokenLogprob(id, session.logits(), count, this.parts.tokenizer);
  }
}

/** Several answers to one prompt are several requests; the prompt is made once. */
function hasSamePrompt(a: AnswerRequest, b: AnswerRequest): boolean {
  if ('prompt' in a || 'prompt' in b)
    return 'prompt' in a && 'prompt' in b && a.prompt === b.prompt;
  const parts = ['messages', 'tools', 'thinking', 'templateVariables', 'goOn'] as const;
  return parts.every((part) => a[part] === b[part]);
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
const PLAIN: OutputFormat = {
  ...{ reasoning: false, calls: null, markers: [] },
  ...{ endOfThought: '', notInThoughts: [] },
};

function noTime(): Timings {
  return { prefillSeconds: 0, decodeSeconds: 0, expertBytesRead: 0 };
}

function throwIfAborted(signal: AbortSignal): void {
  if (!signal.aborted) return;
  const reason: unknown = signal.reason;
  if (reason instanceof FlashmoeError) throw reason;
  throw new FlashmoeError('ERR_INTERRUPTED', 'the generation was cancelled', { cause: reason });
}
