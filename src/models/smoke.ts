// Questions whose answers are known beforehand, as data. Setup ends with them, because a model with a missing
// expert or a gate read at the wrong width still writes fluent text.

export type SmokeJudge =
  /** After trimming. */
  | { kind: 'equals'; text: string }
  | { kind: 'contains'; texts: string[] }
  /** The first JSON object in the answer has these fields and no others. */
  | { kind: 'json'; fields: Record<string, string | number | boolean> };

export type SmokeQuestion =
  | {
      kind: 'tokens';
      name: string;
      prompt: number[];
      /** Greedy ids that follow the prompt. */
      expected: number[];
      /** Distance between the two best logits before each: where it is tiny, another order of summation may differ. */
      margins: number[];
    }
  | {
      kind: 'chat';
      name: string;
      messages: { role: 'system' | 'user'; content: string }[];
      maxTokens: number;
      judge: SmokeJudge;
    };

/** Below this margin a different token proves nothing, and nothing after it can be compared. */
export const MIN_MARGIN = 0.01;

/** Arithmetic, structure and text beyond ASCII: what breaks first when weights are wrong. Asked without thinking. */
export const CHAT_QUESTIONS: SmokeQuestion[] = [
  {
    kind: 'chat',
    name: 'arithmetic',
    messages: [{ role: 'user', content: 'What is 17 * 23? Answer with the number only.' }],
    maxTokens: 24,
    judge: { kind: 'contains', texts: ['391'] },
  },
  {
    kind: 'chat',
    name: 'json',
    messages: [
      {
        role: 'user',
        content:
          'Reply with one JSON object and nothing else. It has two keys: "capital", the capital of France, and "legs", the number of legs of a spider as a number.',
      },
    ],
    maxTokens: 64,
    judge: { kind: 'json', fields: { capital: 'Paris', legs: 8 } },
  },
  {
    kind: 'chat',
    name: 'multi-byte text',
    messages: [{ role: 'user', content: 'Repeat exactly, without quotes: naïve café 東京 Ωμέγα' }],
    maxTokens: 48,
    judge: { kind: 'contains', texts: ['naïve café', '東京', 'Ωμέγα'] },
  },
];

/** True when `text` passes. */
export function checkAnswer(judge: SmokeJudge, text: string): boolean {
  switch (judge.kind) {
    case 'equals':
      return text.trim() === judge.text;
    case 'contains':
      return judge.texts.every((part) => text.includes(part));
    case 'json':
      return hasExactly(firstObject(text), judge.fields);
  }
}

/** True when ids agree as far as the margins let them be compared; too few ids never pass. */
export function checkTokens(
  question: Extract<SmokeQuestion, { kind: 'tokens' }>,
  ids: readonly number[],
): boolean {
  for (const [i, expected] of question.expected.entries()) {
    if (ids[i] === expected) continue;
    return i > 0 && ids.length > i && (question.margins[i] ?? 0) < MIN_MARGIN;
  }
  return true;
}

function firstObject(text: string): unknown {
  const start = text.indexOf('{');
  // Objects of these answers hold no nested braces.
  const end = text.indexOf('}', start);
  if (start === -1 || end === -1) return null;
  try {
    return JSON.parse(text.slice(start, end + 1));
  } catch {
    return null;
  }
}

function hasExactly(value: unknown, fields: Record<string, unknown>): boolean {
  if (typeof value !== 'object' || value === null) return false;
  const entries = Object.entries(value);
  return (
    entries.length === Object.keys(fields).length &&
    entries.every(([key, item]) => Object.hasOwn(fields, key) && fields[key] === item)
  );
}
