// What every dialect shares: one place in the queue, the engine's events, and the news of progress. All
// that can be refused is refused by `begin`, before the first byte of an event stream.

import type { AnswerRequest, Engine, GenerateEvent } from '../engine/types.js';
import { ApiError, toApiError } from './api-error.js';
import { CollectedAnswer, type FinishEvent } from './collected-answer.js';
import type { ServerContext } from './context.js';
import type { Turn } from './queue.js';
import { eventStream } from './sse.js';

export interface Generation {
  id: string;
  engine: Engine;
  turn: Turn;
  signal: AbortSignal;
  /** Place in the queue, then tokens read: for the comments that keep a stream alive. */
  progress: () => string;
  report: (progress: string) => void;
}

/** @param requests answered one after the other, in one turn */
export async function begin(
  context: ServerContext,
  http: Request,
  id: string,
  requests: readonly AnswerRequest[],
): Promise<Generation> {
  const engine = context.host.engine();
  for (const request of requests) await engine.countTokens(request);
  const signal = AbortSignal.any([http.signal, context.shutdown]);
  const turn = context.queue.enter(signal);
  let progress: string | null = null;
  return {
    id,
    engine,
    turn,
    signal,
    progress: () => progress ?? (turn.ahead > 0 ? `waiting behind ${turn.ahead}` : 'beginning'),
    report: (text) => (progress = text),
  };
}

/** Gives the turn back when the consumer has enough. */
export async function* generate(
  context: ServerContext,
  generation: Generation,
  requests: readonly AnswerRequest[],
): AsyncGenerator<{ choice: number; event: GenerateEvent }, void, undefined> {
  const { engine, turn, signal } = generation;
  const { activity, metrics } = context;
  let begun = false;
  try {
    await turn.begun;
    begun = true;
    activity.begin();
    for (const [choice, request] of requests.entries()) {
      let counted = 0;
      let ended: 'cancelled' | 'failed' | null = 'cancelled';
      try {
        for await (const event of engine.chat(request, signal)) {
          if (event.type === 'prefill') {
            activity.prefill(event);
            generation.report(readingOf(event));
          } else if (event.type === 'decode') {
            activity.token();
            metrics.token();
            counted++;
            continue;
          } else if (event.type === 'finish') {
            ended = null;
            context.soundness.answered();
            tellFinished(context, generation, event, counted);
          }
          yield { choice, event };
        }
      } catch (error) {
        if (!signal.aborted) {
          ended = 'failed';
          context.soundness.failed(toApiError(error));
        }
        throw error;
      } finally {
        if (ended !== null) metrics.broken(ended);
      }
    }
  } finally {
    if (begun) activity.end();
    turn.end();
  }
}

function readingOf({ done, total }: { done: number; total: number }): string {
  return `${done} of ${total} prompt tokens read`;
}

/** All answers, whole. */
export async function collect(
  context: ServerContext,
  generation: Generation,
  requests: readonly AnswerRequest[],
): Promise<CollectedAnswer[]> {
  const answers = requests.map(() => new CollectedAnswer());
  for await (const { choice, event } of generate(context, generation, requests)) {
    answers[choice]?.add(event);
  }
  if (answers.some((answer) => answer.finish === null)) throw noReason();
  return answers;
}

/** All events told to `encoder`, for a client that doesn't stream. */
export async function whole(
  context: ServerContext,
  generation: Generation,
  requests: readonly AnswerRequest[],
  encoder: StreamEncoder,
): Promise<void> {
  let finished = 0;
  for await (const { choice, event } of generate(context, generation, requests)) {
    encoder.event(choice, event);
    if (event.type === 'finish') finished++;
  }
  if (finished < requests.length) throw noReason();
}

/** Writes a stream in one dialect. */
export interface StreamEncoder {
  begin(): string[];
  event(choice: number, event: GenerateEvent): string[];
  end(): string[];
  /** The status line is gone; the error is the last event. */
  failed(error: ApiError): string[];
  /** Instead of a comment, while nothing else is said; where a dialect has such an event. */
  ping?: () => string;
}

export function streamed(
  context: ServerContext,
  generation: Generation,
  requests: readonly AnswerRequest[],
  encoder: StreamEncoder,
): Response {
  return eventStream(spoken(context, generation, requests, encoder), {
    everyMs: context.keepAliveMs,
    comment: () => `: keep-alive, ${generation.progress()}\n\n${encoder.ping?.() ?? ''}`,
  });
}

async function* spoken(
  context: ServerContext,
  generation: Generation,
  requests: readonly AnswerRequest[],
  encoder: StreamEncoder,
): AsyncGenerator<string, void, undefined> {
  let finished = 0;
  let begun = false;
  try {
    for await (const { choice, event } of generate(context, generation, requests)) {
      // Not while it waits for its turn: what has not begun, a balancer can give to another machine.
      if (!begun) yield* encoder.begin();
      begun = true;
      yield* encoder.event(choice, event);
      if (event.type === 'finish') finished++;
    }
    if (finished < requests.length) throw noReason();
    yield* encoder.end();
  } catch (thrown) {
    if (!begun) yield* encoder.begin();
    const error = toApiError(thrown);
    if (error.status === 500 && !generation.signal.aborted) {
      context.emit({ type: 'error', code: error.details.code ?? '', message: error.message });
    }
    yield* encoder.failed(error);
  } finally {
    // Also when the client left before the generation began.
    generation.turn.end();
  }
}

function tellFinished(
  context: ServerContext,
  { id }: Generation,
  event: FinishEvent,
  counted: number,
): void {
  const { usage, timings, reason } = event;
  context.metrics.generation(event, counted);
  context.emit({ type: 'generation', id, outcome: reason, usage, timings });
}

function noReason(): ApiError {
  return new ApiError(500, 'the engine ended without a reason', { code: 'ERR_INTERNAL' });
}
