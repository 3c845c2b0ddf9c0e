// Commands as text that a person can paste.

/** For messages: words a shell would split or expand are quoted. */
export function commandLine(words: readonly string[]): string {
  const quoted = words.map((word) =>
    /^[\w./:@=,+~-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`,
  );
  return ['flashmoe', ...quoted].join(' ');
}
