// What JSON.parse can't tell about a hostile header: duplicate keys, depth, and how many entries there are
// before memory is spent on them. One pass in linear time; JSON.parse then judges the grammar itself.

export interface JsonLimits {
  depth: number;
  /** Keys of the outermost object. */
  entries: number;
}

// Char codes, because a header may have a hundred million characters.
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COLON = 0x3a;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;
const OPEN_ARRAY = 0x5b;
const CLOSE_ARRAY = 0x5d;

/** A sentence naming the first violation, or null. `text` need not be valid JSON. */
export function jsonViolation(text: string, limits: JsonLimits): string | null {
  // One set of keys per open object, null for an open array.
  const stack: (Set<string> | null)[] = [];
  // The last string, quotes included: a key when a colon follows.
  let [start, end] = [0, 0];
  for (let i = 0; i < text.length; i++) {
    switch (text.charCodeAt(i)) {
      case QUOTE:
        start = i;
        end = stringEnd(text, i);
        i = end - 1;
        break;
      case OPEN_OBJECT:
      case OPEN_ARRAY:
        if (stack.length === limits.depth) return `nested deeper than ${limits.depth} levels`;
        stack.push(text.charCodeAt(i) === OPEN_OBJECT ? new Set() : null);
        break;
      case CLOSE_OBJECT:
      case CLOSE_ARRAY:
        stack.pop();
        break;
      case COLON: {
        const keys = stack.at(-1);
        if (!keys) break;
        const literal = text.slice(start, end);
        const key = unescape(literal);
        if (keys.has(key)) return `${literal.slice(0, 200)} occurs twice`;
        if (stack.length === 1 && keys.size === limits.entries) {
          return `more than ${limits.entries} entries`;
        }
        keys.add(key);
      }
    }
  }
  return null;
}

/** Index after the closing quote of the string that begins at `start`, or the text's end. */
function stringEnd(text: string, start: number): number {
  for (let i = start + 1; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === BACKSLASH) i++;
    else if (code === QUOTE) return i + 1;
  }
  return text.length;
}

function unescape(literal: string): string {
  if (!literal.includes('\\')) return literal.slice(1, -1);
  try {
    return JSON.parse(literal) as string;
  } catch {
    // A bad escape: JSON.parse of the whole text refuses it with the position.
    return literal;
  }
}
