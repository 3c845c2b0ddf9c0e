// One answer of the server, as it comes: how far the prompt is read, pieces of text, and the figures at the end.

import { askKey, keyHeaders } from './key.js';

/**
 * @param {object} body of POST /v1/chat/completions, without what makes it a stream
 * @param {AbortSignal} signal ends the answer on the server, too
 * @yields `{reading: {done, total}}`, `{reasoning}`, `{content}`, `{finish}`, `{usage, timings}`
 * Throws an Error with the server's own sentence.
 */
export async function* streamAnswer(body, signal) {
  const stream = { stream: true, return_progress: true, stream_options: { include_usage: true } };
  const response = await fetch('/v1/chat/completions', {
    method: 'POST',
    headers: { ...keyHeaders(), 'content-type': 'application/json' },
    body: JSON.stringify({ ...body, ...stream }),
    signal,
  });
  if (response.status === 401) askKey(true);
  if (!response.ok) {
    const { error } = await response.json();
    throw new Error(error?.message ?? `the server answered ${response.status}`);
  }
  let isWhole = false;
  for await (const data of dataLines(response.body)) {
    isWhole ||= data === '[DONE]';
    if (data !== '[DONE]') yield* eventsOf(JSON.parse(data));
  }
  if (!isWhole) throw new Error('the connection ended in the middle of the answer');
}

function* eventsOf(chunk) {
  if (chunk.error) throw new Error(chunk.error.message);
  const { prompt_progress: progress, usage, timings } = chunk;
  if (progress) yield { reading: { done: progress.processed, total: progress.total } };
  const [choice] = chunk.choices ?? [];
  if (choice?.delta?.reasoning_content) yield { reasoning: choice.delta.reasoning_content };
  if (choice?.delta?.content) yield { content: choice.delta.content };
  if (choice?.finish_reason) yield { finish: choice.finish_reason };
  if (usage) yield { usage, timings };
}

/** Of an event stream; comments, which keep a connection alive, are left out. */
async function* dataLines(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split('\n');
    rest = lines.pop();
    for (const line of lines) {
      const data = /^data: ?(.*)$/.exec(line.trimEnd())?.[1];
      if (data !== undefined) yield data;
    }
  }
}
