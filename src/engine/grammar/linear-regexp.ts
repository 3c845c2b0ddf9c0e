// Regular expressions for the validator, in time that grows with the text only: a pattern comes from whoever asks, and
// backtracking could take for ever.

import { Languages } from './language.js';
import { searchedBy } from './pattern.js';

/** As the validator's `code.regExp` wants it. Throws for what isn't regular; the grammar has refused it before. */
export function linearRegExp(pattern: string): { test(text: string): boolean } {
  const languages = new Languages();
  const language = searchedBy(pattern, languages);
  if (language === null) throw new Error(`${pattern} is no regular expression that is known`);
  // The validator keeps one for each text that this gives: without it, all patterns would be its own first one.
  const test = (text: string): boolean => languages.matches(language, text);
  return Object.assign(test, { test, toString: () => pattern });
}
/** What the validator would write into code that it prints; it prints none. */
linearRegExp.code = 'linearRegExp';
