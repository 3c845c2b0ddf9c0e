// What JSON.parse can't tell about a hostile header: duplicate keys, depth, and how many entries there are
// before memory is spent on them. One pass in linear time; JSON.parse then judges the grammar itself.

export interface JsonLimits {
  depth: number;
  /** Keys of the outermost object. */
  entries: number;
}

/** A sentence naming the first violation, or null. `text` need not be valid JSON. */
export function jsonViolation(text: string, limits: JsonLimits): string | null {
  // One set of keys per open object, null for an open array.
  const stack: (Set<string> | null)[] = [];
  let literal = '';
  for (let i = 0; i < text.length; i++) {
    const char = text.charAt(i);
    switch (char) {
      case '"': {
        const end = stringEnd(text, i);
        literal = text.slice(i, end);
        i = end - 1;
        break;
      }
      case '{':
      case '[':
        if (stack.length === limits.depth) return `nested deeper than ${limits.depth} levels`;
        stack.push(char === '{' ? new Set() : null);
        break;
      case '}':
      case ']':
        stack.pop();
        break;
      case ':': {
        const keys = stack.at(-1);
        if (!keys) break;
        const key = unescape(literal);
        if (keys.has(key)) return `${literal.slice(0, 200)} occurs twice`;
        if (stack.length === 1 && keys.size === limits.entries) {
          return `more than ${limits.entries} entries`;
        }
        keys.add(key);
        break;
      }
      default:
    }
  }
  return null;
}

/** Index after the closing quote of the string that begins at `start`, or the text's end. */
function stringEnd(text: string, start: number): number {
  for (let i = start + 1; i < text.length; i++) {
    if (text[i] === '\\') i++;
    else if (text[i] === '"') return i + 1;
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
