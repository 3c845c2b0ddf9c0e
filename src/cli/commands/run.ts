// flashmoe run "PROMPT": one answer on stdout, as it is generated.

import { EXIT, FlashmoeError } from '../../base/errors.js';
import { formatBytes, formatDuration } from '../../base/format.js';
import { terminalText } from '../../base/terminal-text.js';
import type { ChatRequest, Engine, GenerateEvent } from '../../engine/types.js';
import type { RunOptions } from '../../settings/engine-options.js';
import type { CliContext } from '../context.js';
import { decodeRate } from '../decode-rate.js';
import { chooseInstalled, openEngineOf } from '../../application/installed.js';
import { isModelName } from '../../application/named-here.js';

export interface RunArgs extends RunOptions {
  /** null or `-`: read from stdin. */
  prompt: string | null;
  thinking: boolean | null;
}

/**
 * `MODEL PROMPT`, `MODEL` or `PROMPT`: a single word that names a model is one, since nobody asks that. Throws ERR_USAGE for
 * two words of which the first is no model.
 */
export async function readWords(
  context: CliContext,
  model: string | null,
  [first, second]: readonly (string | undefined)[],
): Promise<{ model: string | null; prompt: string | null }> {
  if (first === undefined) return { model, prompt: null };
  if (model === null && (await isModelName(context, first))) {
    return { model: first, prompt: second ?? null };
  }
  if (second === undefined) return { model, prompt: first };
  const why = model === null ? `${first} is no model` : `the model is ${model} already`;
  throw new FlashmoeError('ERR_USAGE', `two arguments, and ${why}`, {
    hint: 'a prompt of several words stands in quotes: flashmoe run "Why is the sky blue?"',
  });
}

export async function run(context: CliContext, args: RunArgs): Promise<number> {
  const content =
    args.prompt === null || args.prompt === '-' ? await readStdin(context) : args.prompt;
  if (content.trim() === '') {
    throw new FlashmoeError('ERR_USAGE', 'the prompt is empty', {
      hint: 'flashmoe run "Why is the sky blue?"',
    });
  }
  const model = await chooseInstalled(context, args.model);
  const engine = await openEngineOf(context, model, context.signal, {
    typed: args,
    promptCache: { gigabytes: null },
  });
  try {
    await answer(context, engine, requestOf(args, content));
  } finally {
    await engine.close();
  }
  return EXIT.done;
}

function requestOf(args: RunArgs, content: string): ChatRequest {
  return {
    messages: [
      ...(args.system === null ? [] : [{ role: 'system' as const, content: args.system }]),
      { role: 'user', content },
    ],
    tools: [],
    thinking: args.thinking,
    maxTokens: args.maxTokens,
    stop: [],
    sampling: {
      ...(args.temperature === null ? {} : { temperature: args.temperature }),
      ...(args.seed === null ? {} : { seed: args.seed }),
    },
  };
}

type EventOf<T extends GenerateEvent['type']> = Extract<GenerateEvent, { type: T }>;
type Texts = Record<'content' | 'reasoning', string>;

async function answer(context: CliContext, engine: Engine, request: ChatRequest): Promise<void> {
  const texts = { content: '', reasoning: '' };
  for await (const event of engine.chat(request, context.signal)) {
    if (event.type === 'prefill') showPrefill(context, event);
    if (event.type === 'text') {
      if (context.json) context.emit('text', { channel: event.channel, text: event.text });
      else showText(context, event, texts);
      texts[event.channel] += event.text;
    }
    if (event.type === 'finish') finish(context, engine, texts, event);
  }
}

function showPrefill(context: CliContext, { done, total }: EventOf<'prefill'>): void {
  if (context.json || !context.stderr.isTTY) return;
  const text = done === total ? '\u001B[K' : `reading the prompt: ${done} of ${total} tokens`;
  context.stderr.write(`\r${text}`);
}

/** Thinking is progress, the answer is the result: a pipe gets the answer alone. */
function showText(context: CliContext, { channel, text }: EventOf<'text'>, before: Texts): void {
  if (channel === 'reasoning') {
    context.stderr.write(context.noteStyle.dim(terminalText(text)));
    return;
  }
  if (before.content === '') endLine(context.stderr, before.reasoning);
  // A file or another program gets what the model said; a terminal must not obey it.
  context.stdout.write(context.stdout.isTTY ? terminalText(text) : text);
}

function endLine(stream: NodeJS.WriteStream, text: string): void {
  if (text !== '' && !text.endsWith('\n')) stream.write('\n');
}

function finish(
  context: CliContext,
  engine: Engine,
  texts: Texts,
  { reason, usage, timings }: EventOf<'finish'>,
): void {
  if (context.json) {
    const { id, quant, expertsPerToken } = engine.model;
    const said = { model: id, quant, expertsPerToken, ...texts, reason };
    context.emit('answer', { ...said, usage, timings });
    return;
  }
  if (texts.content === '') endLine(context.stderr, texts.reasoning);
  endLine(context.stdout, texts.content);
  context.note(
    [
      `${usage.completionTokens} tokens at ${decodeRate(usage, timings).toFixed(1)} tokens/s`,
      `${usage.promptTokens} of prompt in ${formatDuration(timings.prefillSeconds)}`,
      `${formatBytes(timings.expertBytesRead)} of experts read`,
      `${engine.model.expertsPerToken} experts a token`,
      ...(reason === 'length' ? ['cut at the token limit'] : []),
    ].join(', '),
  );
}

async function readStdin(context: CliContext): Promise<string> {
  if (context.stdin.isTTY) {
    throw new FlashmoeError('ERR_USAGE', 'no prompt given', {
      hint: 'flashmoe run "Why is the sky blue?", or pipe one in',
    });
  }
  const chunks: Buffer[] = [];
  for await (const chunk of context.stdin) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('utf8');
}
