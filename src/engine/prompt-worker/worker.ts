// Prompts, made off the main thread. A chat template is a program that somebody else wrote, and so is the split
// pattern of a tokenizer: either may loop for ever or print without end. They run in a thread of their own, with a
// limit on each stage's time, on the text that comes out and on memory (limits.ts). A thread that is over a limit is
// ended, its question is answered with ERR_TEMPLATE, and the next question gets a new one.
//
//   const worker = await PromptWorker.open({ files: '/models/x' });   // or files: { label, texts } not yet on disk
//   worker.template              // its text and how it ends turns; null: the model has none, chat is refused
//   await worker.prompt(request) // { text, ids }; ERR_TEMPLATE where the template refuses
//   await worker.encodeText(text)
//   await worker.close()
//
// Questions are answered one after the other, in the order in which they were asked; those with a long text in a thread
// of their own. An idle worker does not keep the process alive.

import { startFile } from '../../base/package-root.js';
import { Worker } from 'node:worker_threads';
import { FlashmoeError } from '../../base/errors.js';
import type { Prompt, PromptRequest } from '../chat-template.js';
import { PROMPT_LIMITS, timeFor, type PromptLimits } from './limits.js';
import type {
  Answers,
  PromptBounds,
  PromptSource,
  Question,
  Stage,
  TemplateFacts,
  ThreadMessage,
} from './protocol.js';

const THREAD = startFile('engine/prompt-worker/thread.mjs');

/** A thread and those that wait for it. */
class Lane {
  thread: Worker | null = null;
  /** Settles when every question asked so far is answered. */
  last: Promise<unknown> = Promise.resolve();
}

/** Characters of a question that others needn't wait behind: some tenths of a second of encoding. */
const LONG_CHARACTERS = 256 * 1024;

function charactersOf(question: Question): number {
  switch (question.type) {
    case 'facts':
      return 0;
    case 'encode':
      return question.text.length;
    case 'prompt':
      return question.request.messages.reduce((sum, { content }) => sum + content.length, 0);
  }
}

export class PromptWorker {
  readonly #lane = new Lane();
  /** For what takes long to encode, so that nothing small waits behind it; its thread starts with the first of that. */
  readonly #longLane = new Lane();
  #closed = false;
  #template: TemplateFacts | null = null;

  private constructor(
    private readonly source: PromptSource,
    private readonly limits: PromptLimits,
  ) {}

  /** ERR_MODEL_DAMAGED and ERR_UNSUPPORTED_MODEL, naming file and field, for what can't be used. */
  static async open(
    source: PromptSource,
    limits: Partial<PromptLimits> = {},
  ): Promise<PromptWorker> {
    const worker = new PromptWorker(source, { ...PROMPT_LIMITS, ...limits });
    try {
      worker.#template = await worker.#ask({ type: 'facts' });
      return worker;
    } catch (error) {
      await worker.close();
      throw error;
    }
  }

  get template(): TemplateFacts | null {
    return this.#template;
  }

  /** Rendered and encoded, ending where the assistant begins. ERR_TEMPLATE when the template refuses. */
  prompt(request: PromptRequest, { signal, mostTokens }: PromptBounds = {}): Promise<Prompt> {
    const { messages, tools, thinking, templateVariables = {}, goOn = false } = request;
    const asked = { messages, tools, thinking, templateVariables, goOn };
    return this.#ask({ type: 'prompt', request: asked, mostTokens: mostTokens ?? null }, signal);
  }

  /** As prompt(), but null where the template refuses. */
  async tryPrompt(request: PromptRequest): Promise<Prompt | null> {
    try {
      return await this.prompt(request);
    } catch (thrown) {
      if (thrown instanceof FlashmoeError && thrown.code === 'ERR_TEMPLATE') return null;
      throw thrown;
    }
  }

  /** Ids of plain text; never those of control tokens. */
  encodeText(text: string, { signal, mostTokens }: PromptBounds = {}): Promise<number[]> {
    return this.#ask({ type: 'encode', text, mostTokens: mostTokens ?? null }, signal);
  }

  /** Questions that are not answered yet fail with ERR_INTERRUPTED. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([this.#lane.thread?.terminate(), this.#longLane.thread?.terminate()]);
  }

  /** ERR_INTERRUPTED at once when the signal fires; the thread is told, and needn't be waited for. */
  #ask<T extends Question>(question: T, signal?: AbortSignal): Promise<Answers[T['type']]> {
    const lane = charactersOf(question) < LONG_CHARACTERS ? this.#lane : this.#longLane;
    const answer = lane.last.then(() => this.#put(question, lane, signal));
    lane.last = answer.catch(() => undefined);
    return untilAborted(answer as Promise<Answers[T['type']]>, signal);
  }

  #put(question: Question, lane: Lane, signal?: AbortSignal): Promise<Answers[keyof Answers]> {
    if (this.#closed) return Promise.reject(closed());
    if (signal?.aborted === true) return Promise.reject(cancelled());
    const thread = (lane.thread ??= this.#start(lane));
    return new Promise((resolve, reject) => {
      let stage: Stage = { stage: 'loading' };
      let timer: NodeJS.Timeout;
      const settle = (): void => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', onAbort);
        thread.off('message', onMessage).off('error', onError).off('exit', onExit);
        thread.unref();
      };
      const end = (error: FlashmoeError): void => {
        settle();
        if (lane.thread === thread) lane.thread = null;
        void thread.terminate();
        reject(error);
      };
      const enter = (next: Stage): void => {
        stage = next;
        clearTimeout(timer);
        const ms = timeFor(stage, this.limits);
        timer = setTimeout(() => end(tooSlow(stage, ms)), ms);
      };
      const onMessage = (message: ThreadMessage): void => {
        if (message.type === 'stage') {
          if (signal?.aborted !== true) enter(message);
          return;
        }
        settle();
        if (message.type === 'answer') return resolve(message.value);
        const { code, message: text, ...details } = message.failure;
        reject(new FlashmoeError(code, text, details));
      };
      const onAbort = (): void => {
        thread.postMessage({ type: 'cancel' });
        clearTimeout(timer);
        // What can't be stopped between two steps is stopped with the thread.
        timer = setTimeout(() => end(cancelled()), CANCEL_MS);
      };
      const onError = (error: Error & { code?: string }): void =>
        end(
          error.code === 'ERR_WORKER_OUT_OF_MEMORY'
            ? tooLarge(stage, this.limits.heapMiB)
            : new FlashmoeError(
                'ERR_INTERNAL',
                `the thread that makes prompts failed: ${error.message}`,
                { cause: error },
              ),
        );
      const onExit = (): void => end(closed());
      enter(stage);
      signal?.addEventListener('abort', onAbort, { once: true });
      thread.ref();
      thread.on('message', onMessage).on('error', onError).on('exit', onExit);
      thread.postMessage(question);
    });
  }

  #start(lane: Lane): Worker {
    const { source, limits } = this;
    const thread = new Worker(THREAD, {
      workerData: { source, limits },
      resourceLimits: { maxOldGenerationSizeMb: limits.heapMiB },
    });
    // For as long as the thread lives, asked or not: one that is ended for its time may run out of memory before it is gone,
    // and an error that nobody listens to would end this process.
    const isOver = (): void => {
      if (lane.thread === thread) lane.thread = null;
    };
    return thread.on('error', isOver).on('exit', isOver);
  }
}

function whose({ stage }: Stage): { what: string; subject: string } {
  return stage === 'rendering'
    ? { what: "the model's chat template", subject: 'messages' }
    : { what: "the model's tokenizer", subject: 'tokenizer.json' };
}

function tooSlow(stage: Stage, ms: number): FlashmoeError {
  const { what, subject } = whose(stage);
  const seconds = Math.round(ms / 100) / 10;
  return new FlashmoeError(
    'ERR_TEMPLATE',
    `${what} was not done after ${seconds} s and was ended`,
    {
      subject,
    },
  );
}

function tooLarge(stage: Stage, heapMiB: number): FlashmoeError {
  const { what, subject } = whose(stage);
  const message = `${what} needed more than ${heapMiB} MiB of memory and was ended`;
  return new FlashmoeError('ERR_TEMPLATE', message, { subject });
}

/** Milliseconds that a thread may go on with what nobody waits for. */
const CANCEL_MS = 1_000;

function cancelled(): FlashmoeError {
  return new FlashmoeError('ERR_INTERRUPTED', 'the prompt is not wanted any more');
}

async function untilAborted<T>(answer: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return await answer;
  let onAbort = (): void => undefined;
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(cancelled());
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
  });
  return await Promise.race([answer, aborted]).finally(() => {
    signal.removeEventListener('abort', onAbort);
  });
}

function closed(): FlashmoeError {
  return new FlashmoeError('ERR_INTERRUPTED', 'the engine is closing');
}
