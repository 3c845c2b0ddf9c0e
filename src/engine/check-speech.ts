// Whether a model will be able to talk, found from its small files before a byte of its weights is fetched: all that
// an engine opens of tokenizer, chat template and settings is opened here in the same way.

import { asFlashmoeError, FlashmoeError, type ErrorDetails } from '../base/errors.js';
import type { TemplateText } from './chat-template.js';
import { loadGenerationSettings } from './generation-settings.js';
import type { ModelFiles } from './model-files.js';
import type { PromptLimits } from './prompt-worker/limits.js';
import { PromptWorker } from './prompt-worker/worker.js';
import { loadVocabulary } from './tokenizer.js';
import type { Vocabulary } from './tokenizer-types.js';
import type { ChatMessage, ToolDefinition } from './types.js';

export interface SpeechTask {
  /** The files themselves, or a folder that has them. */
  files: ModelFiles;
  /** Rows of the embedding: every id must be one. */
  vocabSize: number;
  /** Instead of the model's own template. */
  template?: TemplateText | null;
  limits?: Partial<PromptLimits>;
}

export interface Speech {
  /** False: there is no chat template, and the model goes on with plain text only. */
  chats: boolean;
  /** What is odd and no reason to refuse. */
  notices: string[];
}

const MESSAGES: ChatMessage[] = [{ role: 'user', content: 'What is the weather in Paris?' }];
const TOOL: ToolDefinition = {
  name: 'weather',
  description: 'The weather of a city',
  parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
};

/** Throws ERR_UNSUPPORTED_MODEL that names file and field, where a model can't talk. */
export async function checkSpeech(task: SpeechTask): Promise<Speech> {
  try {
    return await check(task);
  } catch (thrown) {
    const { message, subject, hint, code } = asFlashmoeError(thrown);
    const details: ErrorDetails = { subject, hint, cause: thrown };
    if (code === 'ERR_INTERRUPTED') throw thrown;
    const why = `this model could not talk: ${message}; no weights were fetched`;
    throw new FlashmoeError('ERR_UNSUPPORTED_MODEL', why, details);
  }
}

async function check({ files, vocabSize, template = null, limits }: SpeechTask): Promise<Speech> {
  const vocabulary = await loadVocabulary(files);
  requireRows(vocabulary, vocabSize);
  const prompts = await PromptWorker.open({ files, template }, limits);
  try {
    const notices: string[] = [];
    const ids = await prompts.encodeText('Hello, world');
    if (ids.length === 0) throw wrong('tokenizer.json', 'the tokenizer makes no tokens of a text');
    requireInside(ids, vocabSize, 'tokenizer.json', 'a text becomes the token');
    const endOfTurn = prompts.template?.endOfTurn ?? null;
    const { stopIds } = await loadGenerationSettings(files, vocabulary, endOfTurn);
    const usable = [...stopIds].filter((id) => id >= 0 && id < vocabSize);
    if (usable.length === 0) {
      const named = [...stopIds].join(', ');
      throw wrong('eos_token_id', `no token ends an answer: ${named} are not in the vocabulary`);
    }
    if (prompts.template === null) {
      notices.push('it has no chat template: completions of plain text work, chat does not');
      return { chats: false, notices };
    }
    const plain = await prompts.prompt({ messages: MESSAGES, tools: [], thinking: null });
    if (plain.ids.length === 0) {
      throw wrong('chat_template', 'the chat template makes nothing of a question');
    }
    requireInside(plain.ids, vocabSize, 'chat_template', 'a question becomes the token');
    const tooled = { messages: MESSAGES, tools: [TOOL], thinking: null };
    await prompts.prompt(tooled).catch((thrown: unknown) => {
      const { code, message } = asFlashmoeError(thrown);
      if (code !== 'ERR_TEMPLATE') throw thrown;
      notices.push(`tools can't be used with it: ${message}`);
    });
    return { chats: true, notices };
  } finally {
    await prompts.close();
  }
}

function requireRows({ tokenLimit }: Vocabulary, vocabSize: number): void {
  if (tokenLimit <= vocabSize) return;
  throw wrong(
    'tokenizer.json',
    `the tokenizer has ids up to ${tokenLimit - 1}, the weights have rows for ${vocabSize}`,
  );
}

function requireInside(
  ids: readonly number[],
  vocabSize: number,
  subject: string,
  what: string,
): void {
  const outside = ids.find((id) => id >= vocabSize);
  if (outside !== undefined) throw wrong(subject, `${what} ${outside} of ${vocabSize}`);
}

function wrong(subject: string, what: string): FlashmoeError {
  return new FlashmoeError('ERR_UNSUPPORTED_MODEL', what, { subject });
}
