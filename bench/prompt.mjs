/** Token ids spread over the vocabulary, the same for every engine. */
export function prompt(count) {
  return Array.from({ length: count }, (_, i) => 1000 + ((i * 7919) % 100_000));
}
