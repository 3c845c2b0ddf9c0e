// The thread's side: loads tokenizer and template, then renders and encodes what it is asked for. Whatever runs too
// long here, a template's loop or a split pattern of the tokenizer, is ended from outside.

import { parentPort, workerData } from 'node:worker_threads';
import { asFlashmoeError, FlashmoeError } from '../../base/errors.js';
import { loadChatTemplate, type ChatTemplate } from '../chat-template.js';
import { loadTokenizer } from '../tokenizer.js';
import type { Tokenizer } from '../tokenizer-types.js';
import type { PromptLimits } from './limits.js';
import type { Answers, PromptSource, Question, ThreadMessage } from './protocol.js';

interface Loaded {
  tokenizer: Tokenizer;
  template: ChatTemplate | null;
}

const { source, limits } = workerData as { source: PromptSource; limits: PromptLimits };

async function load(): Promise<Loaded> {
  const tokenizer = await loadTokenizer(source.files);
  const template = await loadChatTemplate(source.files, tokenizer, source.template ?? null);
  return { tokenizer, template };
}

function answer({ tokenizer, template }: Loaded, question: Question): Answers[keyof Answers] {
  switch (question.type) {
    case 'facts': {
      if (template === null) return null;
      tell({ type: 'stage', stage: 'rendering' });
      const turnEnds = [...template.turnEnds()];
      return { source: template.source, endOfTurn: template.endOfTurn(), turnEnds };
    }
    case 'prompt': {
      if (template === null) throw noTemplate();
      tell({ type: 'stage', stage: 'rendering' });
      const rendered = template.render(question.request);
      const { characters } = rendered;
      if (characters > limits.characters) throw tooLong(characters);
      tell({ type: 'stage', stage: 'encoding', characters });
      return rendered.encode();
    }
    case 'encode': {
      tell({ type: 'stage', stage: 'encoding', characters: question.text.length });
      return tokenizer.encodeText(question.text);
    }
  }
}

function noTemplate(): FlashmoeError {
  return new FlashmoeError('ERR_TEMPLATE', 'this model has no chat template', {
    subject: 'messages',
    hint: 'ask for a completion of plain text, or give a template with --chat-template',
  });
}

function tooLong(characters: number): FlashmoeError {
  return new FlashmoeError(
    'ERR_TEMPLATE',
    `the model's chat template made ${characters} characters; ${limits.characters} are the limit`,
    { subject: 'messages' },
  );
}

function tell(message: ThreadMessage): void {
  parentPort?.postMessage(message);
}

tell({ type: 'stage', stage: 'loading' });
const loaded = load();
// Told to whoever asks.
loaded.catch(() => undefined);

parentPort?.on('message', (question: Question) => {
  loaded
    .then((parts) => answer(parts, question))
    .then(
      (value) => tell({ type: 'answer', value }),
      (thrown: unknown) => {
        const { code, message, subject, hint } = asFlashmoeError(thrown);
        tell({ type: 'failed', failure: { code, message, subject, hint } });
      },
    );
});
