// What every dialect shares: the model that is meant, the prompt, one place in the queue, the engine's events, and the
// news of progress. All that can be refused is refused before the first byte of an event stream, unless that takes
// so long that a client would hang up on silence.

import type { AnswerRequest, Engine, GenerateEvent, Prepared } from '../engine/types.js';
import type { RunningAnswer } from './activity.js';
import { ApiError, toApiError, unavailable } from './api-error.js';
import type { FinishEvent } from './collected-answer.js';
import type { ServerContext } from './context.js';
import type { Turn } from './queue.js';
import { eventStream } from './sse.js';
import { timer } from './timer.js';

/** A request of any dialect. */
export interface Job {
  id: string;
  /** As the client named it; null for none. */
  model: string | null;
  /** Answered one after the other, in one turn. */
  requests: readonly AnswerRequest[];
  stream: boolean;
  encoder: (generation: Generation) => StreamEncoder;
  /** The last event of a stream that failed before it had an encoder. */
  failed: (error: ApiError) => string[];
  /** How streams of a dialect look that has no event streams. */
  streamHeaders?: Record<string, string>;
  /** Instead of comments, in a dialect that has none. */
  ping?: () => string;
  /** Milliseconds that the model stays after this, if the request says so. */
  unloadAfterMs?: number | null;
}

export interface Generation {
  id: string;
  engine: Engine;
  prepared: Prepared;
  turn: Turn;
  signal: AbortSignal;
  /** Place in the queue, then tokens read: for the comments that keep a stream alive. */
  progress: () => string;
  report: (progress: string) => void;
  /** Gives back turn, prompt and model; calling it again does nothing. */
  end: () => void;
}

/** Writes an answer in one dialect. */
export interface StreamEncoder {
  begin(): string[];
  event(choice: number, event: GenerateEvent): string[];
  end(): string[];
  /** The status line is gone; the error is the last event. */
  failed(error: ApiError): string[];
  /** Instead of a comment, while nothing else is said; where a dialect has such an event. */
  ping?: () => string;
  /** For a client that doesn't stream, once all events are told. */
  body(): unknown;
}

/** Answers in one piece, or as a stream. */
export async function respond(context: ServerContext, http: Request, job: Job): Promise<Response> {
  const signal = AbortSignal.any([http.signal, context.shutdown]);
  const ready = begin(context, job, signal);
  if (!job.stream) return Response.json(await whole(context, job, await ready));
  // A client that is told nothing hangs up: what takes longer is refused in the stream.
  const patience = timer(context.keepAliveMs);
  await Promise.race([ready, patience.over]).finally(patience.clear);
  let generation: Generation | null = null;
  let encoder: StreamEncoder | null = null;
  const spoken = speak(context, job, ready, signal, (begun, its) => {
    generation = begun;
    encoder = its;
  });
  const comment = (): string => {
    if (job.ping !== undefined) return job.ping();
    const progress = generation?.progress() ?? beginning(context);
    return `: keep-alive, ${progress}\n\n${encoder?.ping?.() ?? ''}`;
  };
  const { keepAliveMs: everyMs, stallMs } = context;
  return eventStream(spoken, { everyMs, stallMs, comment, headers: job.streamHeaders ?? {} });
}

/** Waits for the model, makes the prompts, and takes a place in the queue. */
async function begin(
  context: ServerContext,
  { id, model, requests, unloadAfterMs = null }: Job,
  signal: AbortSignal,
): Promise<Generation> {
  const { queue, host } = context;
  if (context.preparing + queue.waiting >= queue.limit + 1) {
    const busy = context.preparing + queue.length;
    throw unavailable(`${busy} requests are being answered or waiting`, 'queue_full');
  }
  context.preparing++;
  try {
    const lease = await host.acquire(model, signal);
    let prepared: Prepared | null = null;
    try {
      prepared = await lease.engine.prepare(requests, signal);
      const turn = queue.enter(signal, lease.engine.model.sessions ?? 1);
      const held = prepared;
      let progress: string | null = null;
      return {
        id,
        engine: lease.engine,
        prepared: held,
        turn,
        signal,
        progress: () => progress ?? (turn.ahead > 0 ? `waiting behind ${turn.ahead}` : 'beginning'),
        report: (text) => (progress = text),
        end: () => {
          turn.end();
          held.release();
          lease.release(unloadAfterMs);
        },
      };
    } catch (error) {
      prepared?.release();
      lease.release();
      throw error;
    }
  } finally {
    context.preparing--;
  }
}

function beginning({ host }: ServerContext): string {
  return host.state.status === 'loading' ? 'the model is loading' : 'the prompt is being made';
}

/** Ends the generation when the consumer has enough. */
async function* generate(
  context: ServerContext,
  generation: Generation,
  requests: readonly AnswerRequest[],
): AsyncGenerator<{ choice: number; event: GenerateEvent }, void, undefined> {
  const { prepared, turn, signal } = generation;
  const { activity, metrics, soundness } = context;
  let running: RunningAnswer | null = null;
  try {
    await turn.begun;
    running = activity.begin();
    for (const choice of requests.keys()) {
      let counted = 0;
      let ended: 'cancelled' | 'failed' | null = 'cancelled';
      try {
        for await (const event of prepared.answer(choice, signal)) {
          if (event.type === 'prefill') {
            running.prefill(event);
            generation.report(readingOf(event));
          } else if (event.type === 'decode') {
            running.token();
            metrics.token();
            counted++;
            continue;
          } else if (event.type === 'finish') {
            ended = null;
            soundness.answered();
            tellFinished(context, generation, event, counted);
          }
          yield { choice, event };
        }
      } catch (error) {
        if (!signal.aborted) {
          ended = 'failed';
          soundness.failed(toApiError(error));
        }
        throw error;
      } finally {
        if (ended !== null) metrics.broken(ended);
      }
    }
  } finally {
    running?.end();
    generation.end();
  }
}

function readingOf({ done, total }: { done: number; total: number }): string {
  return `${done} of ${total} prompt tokens read`;
}

/** All events told to the encoder, for a client that doesn't stream. */
async function whole(
  context: ServerContext,
  { requests, encoder: encoderOf }: Job,
  generation: Generation,
): Promise<unknown> {
  const encoder = encoderOf(generation);
  let finished = 0;
  for await (const { choice, event } of generate(context, generation, requests)) {
    encoder.event(choice, event);
    if (event.type === 'finish') finished++;
  }
  if (finished < requests.length) throw noReason();
  encoder.end();
  return encoder.body();
}

async function* speak(
  context: ServerContext,
  job: Job,
  ready: Promise<Generation>,
  signal: AbortSignal,
  onReady: (generation: Generation, encoder: StreamEncoder) => void,
): AsyncGenerator<string, void, undefined> {
  const { requests } = job;
  let encoder: StreamEncoder | null = null;
  let finished = 0;
  let begun = false;
  try {
    const generation = await ready;
    encoder = job.encoder(generation);
    onReady(generation, encoder);
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
    const error = toApiError(thrown);
    if (error.status === 500 && !signal.aborted) {
      context.emit({ type: 'error', code: error.details.code ?? '', message: error.message });
    }
    if (encoder === null) return yield* job.failed(error);
    if (!begun) yield* encoder.begin();
    yield* encoder.failed(error);
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
