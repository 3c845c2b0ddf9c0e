// Words of other tools for what is called otherwise here. A near miss of our own words is commander's business.

const SYNONYMS: Readonly<Record<string, string>> = {
  add: 'pull',
  ask: 'run',
  completion: 'completions',
  dashboard: 'serve',
  delete: 'rm',
  download: 'pull',
  fetch: 'pull',
  generate: 'run',
  get: 'pull',
  info: 'show',
  inspect: 'show',
  init: 'setup',
  install: 'setup',
  kill: 'service stop',
  logs: 'service logs',
  move: 'mv',
  quantize: 'setup --quant',
  open: 'serve',
  prompt: 'run',
  remove: 'rm',
  rename: 'mv',
  repair: 'verify --repair',
  restart: 'service restart',
  search: 'models',
  start: 'service start',
  talk: 'chat',
  ui: 'serve',
  web: 'serve',
};

/** What there is no command for, and why. */
const NOT_HERE: Readonly<Record<string, string>> = {
  create: '`flashmoe setup --repo org/name` takes any repository of a supported family',
  login: 'no account is needed; for a gated repository set HF_TOKEN to a token of Hugging Face',
  push: 'nothing is uploaded; `flashmoe share` offers a model to another machine of yours',
};

export function whyNotHere(word: string): string | null {
  return NOT_HERE[word] ?? null;
}

/**
 * What somebody means who types `word`; null for a word that nobody is known to mean.
 * @param near also of words that are one letter away
 */
export function synonymOf(word: string, near: boolean): string | null {
  const known = Object.keys(SYNONYMS).find(
    (each) => each === word || (near && isOneOff(each, word)),
  );
  return known === undefined ? null : (SYNONYMS[known] ?? null);
}

/** One letter more, less, another, or two in the other order. */
function isOneOff(one: string, other: string): boolean {
  let at = 0;
  while (at < one.length && one[at] === other[at]) at++;
  const [rest, its] = [one.slice(at), other.slice(at)];
  const swapped = (rest[1] ?? '') + (rest[0] ?? '') + rest.slice(2);
  return (
    one.length > 3 &&
    (rest.slice(1) === its ||
      rest === its.slice(1) ||
      rest.slice(1) === its.slice(1) ||
      swapped === its)
  );
}
