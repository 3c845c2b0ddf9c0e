import type { CommandFacts } from '../command-tree.js';
import { CATALOG_NAMES, places } from './words.js';

const MODELS = '${(f)"$(_flashmoe_models)"}';

/** For compinit; also to be sourced after it. */
export function zshCompletion(root: CommandFacts, skills: readonly string[]): string {
  const all = places(root, skills);
  const routes = all.filter(({ route }) => route !== '').map(({ route }) => `" ${route}"`);
  const values = all.flatMap(({ route, values: options }) =>
    options.map(({ names, choices, models }) => {
      const patterns = names.map((name) => `"${prefixed(route)}/${name}"`).join('|');
      const words = models ? MODELS : choices.join(' ');
      const answer = words === '' ? '_files' : `compadd -- ${words}`;
      return `    (${patterns}) ${answer}; return ;;`;
    }),
  );
  const words = all.map(({ route, candidates, models }) => {
    const described = candidates.map(({ word, description }) => quoted(`${word}:${description}`));
    if (models) described.push(MODELS);
    return `    ("${prefixed(route)}") candidates=(\n      ${described.join('\n      ')}\n    ) ;;`;
  });
  return `#compdef flashmoe
# zsh completion of flashmoe; \`flashmoe completions zsh\` prints it.
_flashmoe_models() {
  local folder
  print -l ${CATALOG_NAMES.join(' ')}
  for folder in "\${FLASHMOE_HOME:-$HOME/.flashmoe}"/models/*(N/); do print -r -- "\${folder:t}"; done
}
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
