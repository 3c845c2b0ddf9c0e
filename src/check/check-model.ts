// Whether a model says what it should: questions with one right answer, a passage against a bound, and what a broken model
// gives away while it answers. It sees an engine and knows nothing of files. At most 200 tokens are decoded.

import type { Engine } from '../engine/types.js';
import { FlashmoeError } from '../base/errors.js';
import type { Quant } from '../models/quant.js';
import {
  CHAT_QUESTIONS,
  expectation,
  checkAnswer,
  checkTokens,
  type ChatQuestion,
  type SmokeQuestion,
  type TokensQuestion,
} from '../models/smoke.js';
import { CHECK_VERSION, type CheckReport, type KnownAnswer } from '../store/receipt.js';
import { ask, decoded, type Generated } from './ask.js';
import { endsInLoop, checkFigures, type RunFigures } from './check-figures.js';
import { knownReading } from './known-readings.js';
import { judgePassage, PASSAGE } from './passage.js';

/** One slip is a model's own; two are the weights'. */
const WRONG_ANSWERS = 1;

export interface CheckTask {
  engine: Engine;
  quant: Quant;
  /** Of the packed files; see Receipt. */
  contentSha256: string;
  /** Known answers of this very checkpoint, which are asked in place of the questions for any model. */
  questions: readonly TokensQuestion[];
  expertsBytes: number;
  memoryBytes: number;
  /** Measured uncached reads of expert size; null when nobody measured. */
  diskBytesPerSecond: number | null;
  /** Milliseconds since the epoch, and of a clock that only goes forward. */
  now: () => number;
  monotonic: () => number;
  onAnswer: (answer: KnownAnswer) => void;
  signal: AbortSignal;
}

export interface Checked {
  report: CheckReport;
  /** Decoding, over all questions. */
  tokensPerSecond: number;
}

/** Never throws for a wrong answer; throws what the engine throws, ERR_INTERRUPTED after an abort. */
export async function checkModel(task: CheckTask): Promise<Checked> {
  const run = new Check(task);
  return run.all();
}

class Check {
  readonly #task: CheckTask;
  readonly #answers: KnownAnswer[] = [];
  readonly #reasons: string[] = [];
  readonly #notJudged: string[] = [];
  #judged = 0;
  #decoded = 0;
  #read = 0;
  #decodeSeconds = 0;

  constructor(task: CheckTask) {
    this.#task = task;
  }

  async all(): Promise<Checked> {
    const { now, monotonic, questions } = this.#task;
    const started = monotonic();
    const passage = questions.length > 0 ? null : await this.#passage();
    if (questions.length > 0) {
      for (const question of questions) await this.#ask(question);
    } else await this.#askAny();
    const wrong = this.#answers.filter(({ ok }) => !ok);
    if (wrong.length > (questions.length > 0 ? 0 : WRONG_ANSWERS)) {
      this.#reasons.push(`${wrong.length} of ${this.#answers.length} answers are wrong`);
    }
    const verdict =
      this.#reasons.length > 0 ? 'failed' : this.#judged === 0 ? 'unjudged' : 'passed';
    const report: CheckReport = {
      version: CHECK_VERSION,
      at: new Date(now()).toISOString(),
      verdict,
      reasons: [...new Set(this.#reasons)],
      answers: this.#answers,
      passage,
      notJudged: this.#notJudged,
      cost: {
        decodedTokens: this.#decoded,
        readTokens: this.#read,
        seconds: (monotonic() - started) / 1000,
      },
    };
    const seconds = this.#decodeSeconds;
    return { report, tokensPerSecond: seconds > 0 ? this.#decoded / seconds : 0 };
  }

  async #passage(): Promise<CheckReport['passage']> {
    const { engine, quant, contentSha256, signal } = this.#task;
    const reading = {
      first: await engine.tokenize(`${PASSAGE}\n\n`),
      again: await engine.tokenize(PASSAGE),
    };
    const logprobs = await engine.score([...reading.first, ...reading.again], signal);
    this.#read += logprobs.length + 1;
    const known = knownReading(contentSha256);
    const { figures, reasons, notJudged } = judgePassage(reading, logprobs, quant, known);
    this.#reasons.push(...reasons);
    this.#notJudged.push(...notJudged);
    return figures;
  }

  async #askAny(): Promise<void> {
    // Asked otherwise than it was trained, a model that works may answer anything.
    if (!(await canChat(this.#task.engine))) {
      this.#notJudged.push('answers: it has no chat template; the passage alone was judged');
      return;
    }
    for (const question of CHAT_QUESTIONS) await this.#ask(question);
  }

  async #ask(question: SmokeQuestion): Promise<void> {
    const { engine, signal, onAnswer } = this.#task;
    const generated = await ask(engine, question, signal);
    this.#decoded += decoded(generated);
    this.#read += generated.usage.promptTokens - generated.usage.cachedTokens;
    this.#decodeSeconds += generated.timings.decodeSeconds;
    const complaint = checkFigures(this.#figures(generated));
    if (complaint !== null) this.#reasons.push(complaint);
    // All it had room for was spent on thoughts.
    const { reasoningTokens, completionTokens } = generated.usage;
    if (question.kind === 'chat' && completionTokens > 0 && reasoningTokens >= completionTokens) {
      this.#notJudged.push(`${question.name}: it thinks longer than the check waits`);
      return;
    }
    this.#judged += 1;
    const answer = this.#judge(question, generated);
    this.#answers.push(answer);
    onAnswer(answer);
  }

  #judge(question: SmokeQuestion, { text, ids }: Generated): KnownAnswer {
    const { engine } = this.#task;
    const { name } = question;
    const loops = endsInLoop(question.kind === 'tokens' ? ids : [...text]);
    if (loops) this.#reasons.push(`${name}: the answer repeats itself without end`);
    if (question.kind === 'tokens') {
      const { prompt, expected } = question;
      const ok = checkTokens(question, ids) && !loops;
      const [asked, said, wanted] = [prompt, ids, expected].map((each) => engine.detokenize(each));
      return { name, question: asked ?? '', answer: said ?? '', expected: wanted ?? '', ok };
    }
    return {
      name,
      question: question.messages.map(({ content }) => content).join('\n'),
      answer: text.trim(),
      expected: expectation(question.judge),
      ok: checkAnswer(question.judge, text) && !loops,
    };
  }

  #figures(generated: Generated): RunFigures {
    const { engine, expertsBytes, memoryBytes, diskBytesPerSecond } = this.#task;
    return {
      decodedTokens: decoded(generated),
      ...generated.timings,
      expertBytesUsed: generated.timings.experts?.bytes ?? generated.timings.expertBytesRead,
      expertBytesPerToken: engine.model.expertBytesPerToken,
      ...{ expertsBytes, memoryBytes, diskBytesPerSecond },
    };
  }
}

async function canChat(engine: Engine): Promise<boolean> {
  const [{ messages, maxTokens }] = CHAT_QUESTIONS as [ChatQuestion];
  const request = { messages, tools: [], thinking: false, maxTokens, stop: [], sampling: {} };
  try {
    await engine.render(request);
    return true;
  } catch (error) {
    if (error instanceof FlashmoeError && error.code === 'ERR_TEMPLATE') return false;
    throw error;
  }
}
