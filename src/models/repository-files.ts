// Which files of a repository besides shards a model needs to run. Everything else, scripts above all, is
// neither fetched nor kept.

const SIDE_FILES = new Set([
  'config.json',
  'generation_config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'added_tokens.json',
  'vocab.json',
  'merges.txt',
  'tiktoken.model',
  'chat_template.jinja',
  'chat_template.json',
]);

/** `path` as in the repository's listing. */
export function isSideFile(path: string): boolean {
  return SIDE_FILES.has(path);
}
