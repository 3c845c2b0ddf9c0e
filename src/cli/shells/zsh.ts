import type { CommandFacts } from '../command-tree.js';
import { places } from './words.js';

/** For compinit; also to be sourced after it. */
export function zshCompletion(root: CommandFacts): string {
  const all = places(root);
  const routes = all.filter(({ route }) => route !== '').map(({ route }) => `" ${route}"`);
  const values = all.flatMap(({ route, values: options }) =>
    options.map(({ names, choices }) => {
      const patterns = names.map((name) => `"${prefixed(route)}/${name}"`).join('|');
      const answer = choices.length > 0 ? `compadd -- ${choices.join(' ')}` : '_files';
      return `    (${patterns}) ${answer}; return ;;`;
    }),
  );
  const words = all.map(({ route, candidates }) => {
    const described = candidates.map(({ word, description }) => quoted(`${word}:${description}`));
    return `    ("${prefixed(route)}") candidates=(\n      ${described.join('\n      ')}\n    ) ;;`;
  });
  return `#compdef flashmoe
# zsh completion of flashmoe; \`flashmoe completions zsh\` prints it.
_flashmoe() {
  local route="" word prev=\${words[CURRENT-1]}
  local -a candidates
  for word in \${words[2,CURRENT-1]}; do
    case "$route $word" in
    (${routes.join('|\\\n      ')}) route="$route $word" ;;
    esac
  done
  case "$route/$prev" in
${values.join('\n')}
  esac
  case "$route" in
${words.join('\n')}
  esac
  _describe -t commands flashmoe candidates || _files
}
if [[ "$funcstack[1]" = _flashmoe ]]; then _flashmoe "$@"; else compdef _flashmoe flashmoe; fi`;
}

const prefixed = (route: string): string => (route === '' ? '' : ` ${route}`);

/** A colon parts word and description, so that those of the description alone may stay as they are. */
const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;
