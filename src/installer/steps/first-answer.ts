// The last step: the model's own questions, whose answers are known beforehand, and what a broken model
// gives away while it answers. Nothing is called done before this.

import { basename, join } from 'node:path';
import { FlashmoeError } from '../../base/errors.js';
import type { ModelPaths } from '../../base/paths.js';
import type { Engine, GenerateEvent, Timings, Usage } from '../../engine/types.js';
import { checkAnswer, checkTokens, type SmokeQuestion } from '../../models/smoke.js';
import { fileSize } from '../../store/disk-sizes.js';
import type { Emit } from '../../jobs/events.js';
import type { KnownAnswer } from '../../store/receipt.js';
import { endsInLoop, checkFigures } from '../check-figures.js';
import { CALIBRATION_FILE } from '../../repack/calibration.js';
import type { ModelManifest } from '../../store/manifest.js';

export interface FirstAnswerTask {
  /** Where none are known, the engine is only watched while it decodes. */
  questions: readonly SmokeQuestion[];
  manifest: ModelManifest;
  paths: ModelPaths;
  open: (signal: AbortSignal) => Promise<Engine>;
  memoryBytes: number;
  /** Measured uncached reads of expert size; null when nobody measured. */
  diskBytesPerSecond: number | null;
  emit: Emit;
  signal: AbortSignal;
}

export interface FirstAnswers {
  answers: KnownAnswer[];
  /** Decoding, over all questions. */
  tokensPerSecond: number;
}

/** Whatever it answers, it must read its experts for it. Ids that every vocabulary has. */
const ANY_ANSWER: SmokeQuestion = {
  kind: 'tokens',
  name: 'decoding',
  prompt: [1, 2, 3, 4, 5, 6, 7, 8],
  expected: [],
  margins: [],
};
const ANY_TOKENS = 16;

interface Generated {
  text: string;
  ids: number[];
  usage: Usage;
  timings: Timings;
}

/** Throws ERR_KNOWN_ANSWER with the first thing that is wrong, after all questions; ERR_MODEL_DAMAGED for a bad file. */
export async function askFirstAnswers(task: FirstAnswerTask): Promise<FirstAnswers> {
  const { emit, signal, manifest } = task;
  // Known answers are those of errors that were not weighed.
  const isWeighed = manifest.files.some(({ path }) => path === CALIBRATION_FILE);
  const questions = task.questions.length > 0 && !isWeighed ? task.questions : [ANY_ANSWER];
  emit({ type: 'step', step: 'first-answer', status: 'started' });
  try {
    await requireFiles(manifest, task.paths);
    const engine = await task.open(signal);
    try {
      const answers: KnownAnswer[] = [];
      const complaints: string[] = [];
      let tokens = 0;
      let seconds = 0;
      for (const question of questions) {
        const generated = await ask(engine, question, signal);
        const { answer, complaint } = judge(task, engine, question, generated);
        answers.push(answer);
        emit({ type: 'answer', answer });
        if (complaint !== null) complaints.push(`${question.name}: ${complaint}`);
        tokens += decoded(generated);
        seconds += generated.timings.decodeSeconds;
      }
      if (complaints.length > 0) throw wrong(manifest, complaints);
      emit({ type: 'step', step: 'first-answer', status: 'done' });
      return { answers, tokensPerSecond: seconds > 0 ? tokens / seconds : 0 };
    } finally {
      await engine.close();
    }
  } catch (error) {
    emit({ type: 'step', step: 'first-answer', status: 'failed' });
    throw error;
  }
}

/** Every file of the manifest, there and whole by size: an engine that skipped one would still talk. */
export async function requireFiles(manifest: ModelManifest, paths: ModelPaths): Promise<void> {
  for (const { path, size } of manifest.files) {
    const found = await fileSize(join(paths.root, path));
    if (found === size) continue;
    const what = found === null ? 'is missing' : `has ${found} bytes instead of ${size}`;
    throw new FlashmoeError('ERR_MODEL_DAMAGED', `${join(paths.root, path)} ${what}`, {
      hint: `run \`flashmoe setup ${manifest.model}\` again, it makes the file anew`,
      resumable: true,
      subject: path,
    });
  }
}

function judge(
  { manifest, paths, memoryBytes, diskBytesPerSecond }: FirstAnswerTask,
  engine: Engine,
  question: SmokeQuestion,
  generated: Generated,
): { answer: KnownAnswer; complaint: string | null } {
  const { timings, text, ids } = generated;
  const experts = basename(paths.experts(manifest.quant));
  const loops = question.kind === 'tokens' ? endsInLoop(ids) : endsInLoop([...text]);
  const isRight =
    question.kind === 'tokens' ? checkTokens(question, ids) : checkAnswer(question.judge, text);
  const answer = describe(question, generated);
  const complaint =
    checkFigures({
      decodedTokens: decoded(generated),
      ...timings,
      expertBytesPerToken: engine.model.expertBytesPerToken,
      expertsBytes: manifest.files
        .filter(({ path }) => path.startsWith(`${experts}/`))
        .reduce((sum, { size }) => sum + size, 0),
      memoryBytes,
      diskBytesPerSecond,
    }) ??
    (loops && question !== ANY_ANSWER ? 'the answer repeats itself without end' : null) ??
    (isRight ? null : `expected ${answer.expected}, got ${answer.answer}`);
  return { answer: { ...answer, ok: complaint === null }, complaint };
}

async function ask(
  engine: Engine,
  question: SmokeQuestion,
  signal: AbortSignal,
): Promise<Generated> {
  const greedy = { temperature: 0 };
  if (question.kind === 'tokens') {
    const { prompt: tokens, expected } = question;
    const request = { tokens, maxTokens: expected.length || ANY_TOKENS, sampling: greedy };
    return collect(engine.continueTokens(request, signal));
  }
  return collect(
    engine.chat(
      {
        messages: question.messages,
        tools: [],
        thinking: false,
        maxTokens: question.maxTokens,
        stop: [],
        sampling: greedy,
      },
      signal,
    ),
  );
}

async function collect(events: AsyncIterable<GenerateEvent>): Promise<Generated> {
  let text = '';
  const ids: number[] = [];
  for await (const event of events) {
    if (event.type === 'text' && event.channel === 'content') text += event.text;
    else if (event.type === 'token') ids.push(event.id);
    else if (event.type === 'finish') {
      return { text, ids, usage: event.usage, timings: event.timings };
    }
  }
  throw new FlashmoeError('ERR_ENGINE', 'the engine ended an answer without saying so');
}

/** Steps of decoding: the first token of an answer needs none. */
function decoded({ usage }: Generated): number {
  return Math.max(0, usage.completionTokens - 1);
}

function describe(question: SmokeQuestion, { text, ids }: Generated): Omit<KnownAnswer, 'ok'> {
  const { name } = question;
  if (question.kind === 'tokens') {
    return {
      name,
      question: `tokens ${question.prompt.join(' ')}`,
      answer: ids.join(' '),
      expected: question.expected.join(' ') || `${ANY_TOKENS} tokens, all experts read`,
    };
  }
  const asked = question.messages.map(({ content }) => content).join('\n');
  return { name, question: asked, answer: text.trim(), expected: expectation(question.judge) };
}

function expectation(judge: Extract<SmokeQuestion, { kind: 'chat' }>['judge']): string {
  switch (judge.kind) {
    case 'equals':
      return judge.text;
    case 'contains':
      return judge.texts.join(', ');
    case 'json':
      return JSON.stringify(judge.fields);
  }
}

function wrong(manifest: ModelManifest, complaints: string[]): FlashmoeError {
  return new FlashmoeError(
    'ERR_KNOWN_ANSWER',
    `${manifest.model} does not give its known answers, so it must not be trusted; ` +
      `its files were kept\n  ${complaints.join('\n  ')}`,
    { hint: `run \`flashmoe verify ${manifest.model}\` to look for a damaged file` },
  );
}
