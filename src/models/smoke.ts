// Questions with one right answer, as data. Setup ends with them, because a model with a missing expert or a gate read at the
// wrong width still writes fluent text.

export type SmokeJudge =
  /** After trimming. */
  | { kind: 'equals'; text: string }
  | { kind: 'contains'; texts: string[] }
  /** The first JSON object in the answer has these fields and no others. */
  | { kind: 'json'; fields: Record<string, string | number | boolean> }
  /** The last number in the answer is this one. */
  | { kind: 'number'; value: number }
  /** Some words of letters, nothing unprintable. */
  | { kind: 'words' };

export type SmokeQuestion = TokensQuestion | ChatQuestion;

export interface TokensQuestion {
      kind: 'tokens';
      name: string;
      prompt: number[];
      /** Greedy ids that follow the prompt. */
      expected: number[];
      /** Distance between the two best logits before each: where it is tiny, another order of summation may differ. */
      margins: number[];
    }

export interface ChatQuestion {
      kind: 'chat';
      name: string;
      messages: { role: 'system' | 'user'; content: string }[];
      maxTokens: number;
      judge: SmokeJudge;
    }

/** Below this margin a different token proves nothing, and nothing after it can be compared. */
export const MIN_MARGIN = 0.01;

/**
 * For any model that chats, asked greedily and without thinking. Which sums and words: those that the bundled model gets right
 * at every width and gets wrong as soon as one of its layers is another's, so that they notice more than a wreck.
 */
export const CHAT_QUESTIONS: ChatQuestion[] = [
  sum('What is 92 + 45?', 137),
  sum('What is 83 + 43?', 126),
  sum('What is 95 - 70?', 25),
  sum('What is 83 + 90?', 173),
  {
    kind: 'chat',
    name: 'a JSON object',
    messages: [
      {
        role: 'system',
        content:
          'Answer with a JSON object that fits this schema:\n{"type": "object", "properties": {"name": {"type": "string"}, "count": {"type": "integer"}, "open": {"type": "boolean"}}, "required": ["name", "count", "open"]}',
      },
      { role: 'user', content: 'name = Anna, count = 8213, open = false' },
    ],
    maxTokens: 40,
    judge: { kind: 'json', fields: { name: 'Anna', count: 8213, open: false } },
  },
  {
    kind: 'chat',
    name: 'multi-byte text',
    messages: [{ role: 'user', content: 'Repeat after me: naïve café 東京 Ωμέγα' }],
    maxTokens: 36,
    judge: { kind: 'contains', texts: ['naïve café', '東京', 'Ωμέγα'] },
  },
  reversal('window table ship north river', 'river north ship table window'),
  reversal('bread north music garden candle', 'candle garden music north bread'),
  {
    kind: 'chat',
    name: 'free text',
    messages: [{ role: 'user', content: 'Who are you?' }],
    maxTokens: 36,
    judge: { kind: 'words' },
  },
];

function sum(content: string, value: number): ChatQuestion {
  const messages = [{ role: 'user' as const, content }];
  return { kind: 'chat', name: 'arithmetic', messages, maxTokens: 12, judge: { kind: 'number', value } };
}

function reversal(words: string, backwards: string): ChatQuestion {
  return {
    kind: 'chat',
    name: 'words backwards',
    messages: [{ role: 'user', content: `Reverse the words: ${words}` }],
    maxTokens: 20,
    judge: { kind: 'contains', texts: [backwards] },
  };
}

/** True when `text` passes. */
export function checkAnswer(judge: SmokeJudge, text: string): boolean {
  switch (judge.kind) {
    case 'equals':
      return text.trim() === judge.text;
    case 'contains':
      return judge.texts.every((part) => text.includes(part));
    case 'json':
      return hasExactly(firstObject(text), judge.fields);
    case 'number':
      return lastNumber(text) === judge.value;
    case 'words':
      return isText(text);
  }
}

/** What was wanted, for people. */
export function expectation(judge: SmokeJudge): string {
  switch (judge.kind) {
    case 'equals':
      return judge.text;
    case 'contains':
      return judge.texts.join(', ');
    case 'json':
      return JSON.stringify(judge.fields);
    case 'number':
      return String(judge.value);
    case 'words':
      return 'some words';
  }
}

/** True when ids agree as far as the margins let them be compared; too few ids never pass. */
export function checkTokens(
  question: TokensQuestion,
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

/** `1,024` is one number, and `=137.` ends with one. */
function lastNumber(text: string): number | null {
  const found = text.replace(/(?<=\d),(?=\d{3}\b)/g, '').match(/-?\d+(\.\d+)?/g);
  return found === null ? null : Number(found.at(-1));
}

const LEAST_WORDS = 2;

function isText(text: string): boolean {
  const words = text.match(/\p{L}{2,}/gu) ?? [];
  return words.length >= LEAST_WORDS && !/\p{Cc}(?<!\s)|\uFFFD/u.test(text);
}
