// Words of other tools for what is called otherwise here. A near miss of our own words is commander's business.

const SYNONYMS: Readonly<Record<string, string>> = {
  add: 'pull',
  ask: 'run',
  delete: 'rm',
  download: 'pull',
  fetch: 'pull',
  get: 'pull',
  info: 'show',
  inspect: 'show',
  install: 'setup',
  logs: 'service logs',
  move: 'mv',
  quantize: 'setup --quant',
  remove: 'rm',
  repair: 'verify --repair',
  search: 'models',
  start: 'service start',
  talk: 'chat',
};

/** What somebody means who types `word`; null for a word that nobody is known to mean. */
export function synonymOf(word: string): string | null {
  return Object.hasOwn(SYNONYMS, word) ? (SYNONYMS[word] ?? null) : null;
}
