/**
 * Token ids spread over the vocabulary, the same for every engine: the prompt's, then those that decoding is fed. What
 * random weights would answer soon repeats itself, and so its experts; a third of memory would hold them.
 */
export function tokens(count) {
  return Array.from({ length: count }, (_, i) => 1000 + ((i * 7919) % 100_000));
}

/** An early line, in case the rest takes longer than whoever waits allows; the last line counts. */
export function report(facts) {
  process.stdout.write(`${JSON.stringify(facts)}\n`);
}
