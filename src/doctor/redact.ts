// A text that may be shown to strangers: no home, no names, no secrets. Pure.

export interface Identity {
  homeDirectory: string;
  userName: string;
  hostName: string;
}

/** Shapes of tokens of the hub and of common APIs, and what stands behind a header or a key of that kind. */
const SECRETS: [RegExp, string][] = [
  [/\b(hf|api_org)_\w{6,}/g, '<token>'],
  [/\bsk-[\w-]{8,}/g, '<token>'],
  [/\bgh[pousr]_\w{8,}/g, '<token>'],
  [/\b(Bearer|Basic)\s+[\w.~+/=-]{6,}/gi, '$1 <token>'],
  [/((?:token|secret|passw(?:or)?d|api_?key)["']?\s*[=:]\s*["']?)[^\s"',}]{4,}/gi, '$1<secret>'],
  [/(:\/\/)[^\s/@]+@/g, '$1<credentials>@'],
  // Serial numbers of Apple: a name that says so, and what follows it.
  [/(serial(?: number)?["']?\s*[=:]\s*["']?)[A-Z0-9]{8,}/gi, '$1<serial>'],
  [/\b([0-9a-f]{2}:){5}[0-9a-f]{2}\b/gi, '<mac>'],
];

/** Longest names first, so that a path is replaced before the user's name within it. */
export function redact(text: string, { homeDirectory, userName, hostName }: Identity): string {
  let shown = text;
  for (const [pattern, replacement] of SECRETS) shown = shown.replace(pattern, replacement);
  shown = replaceWord(shown, homeDirectory, '~');
  const short = hostName.split('.')[0] ?? '';
  for (const name of [hostName, short]) shown = replaceWord(shown, name, '<host>');
  return replaceWord(shown, userName, '<user>');
}

/** As a whole word, so that a user called `al` does not tear words apart; a bare slash or dot is no name. */
function replaceWord(text: string, word: string, replacement: string): string {
  if (word.length < 2) return text;
  const escaped = word.replace(/[.*+?^${}()|[\]\\/-]/g, '\\$&');
  return text.replace(new RegExp(`(?<![\\w-])${escaped}(?![\\w-])`, 'gi'), replacement);
}
