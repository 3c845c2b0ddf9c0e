// From a JSON schema to the grammar of what it allows. What the grammar can't hold an answer to is told by its path;
// annotations and unknown keywords are not meant to hold anything.

import { JsonGrammar } from './json-grammar.js';
import { Languages, TooLarge } from './language.js';
import { isObject } from '../model-files.js';
import type { OnProblem } from './normalise.js';
import type { SchemaNode } from './shapes.js';

export type { OnProblem } from './normalise.js';

const DEEPEST = 64;
const MOST_NODES = 20_000;

/**
 * The grammar in the library's EBNF.
 * @param path of the schema in the request, for `onProblem`
 * @param languages shared by the schemas of one request, so that together they have one limit
 */
export function schemaGrammar(
  given: unknown,
  path: string,
  onProblem: OnProblem,
  languages = new Languages(),
): string {
  const schema = withinBounds(given, path, onProblem);
  return bounded(path, onProblem, () => {
    const { rules, value } = new JsonGrammar(schema, path, onProblem, languages);
    return rules.text(value(schema === true ? [] : [schema]));
  });
}

/** What is no schema, or too much of one, allows anything. */
export function withinBounds(
  schema: unknown,
  path: string,
  onProblem: OnProblem,
): SchemaNode | true {
  const why = excess(schema);
  if (why === null && (isObject(schema) || typeof schema === 'boolean')) return schema;
  onProblem(path, why ?? 'is not a schema');
  return true;
}

/** Throws what `onProblem` throws; where that returns, what was too much allows anything. */
export function bounded(path: string, onProblem: OnProblem, make: () => string): string {
  return (
    orTooLarge(path, onProblem, make) ??
    new JsonGrammar({}, path, onProblem, new Languages()).anything()
  );
}

/** null where it was too much and `onProblem` returned. */
export function orTooLarge<Made>(
  path: string,
  onProblem: OnProblem,
  make: () => Made,
): Made | null {
  try {
    return make();
  } catch (thrown) {
    if (!(thrown instanceof TooLarge) && !(thrown instanceof RangeError)) throw thrown;
    onProblem(path, `is too large to be enforced: ${thrown.message}`);
    return null;
  }
}

/** Without recursion: it may be nested as deeply as a body is long. */
function excess(schema: unknown): string | null {
  const left: [unknown, number][] = [[schema, 0]];
  let nodes = 0;
  for (let next = left.pop(); next !== undefined; next = left.pop()) {
    const [value, depth] = next;
    if (typeof value !== 'object' || value === null) continue;
    if (depth > DEEPEST) return 'is nested too deeply';
    if (++nodes > MOST_NODES) return 'is too large to be enforced';
    for (const inner of Object.values(value)) left.push([inner, depth + 1]);
  }
  return null;
}
