import type { CommandFacts } from '../command-tree.js';
import { CATALOG_NAMES, places } from './words.js';

const MODELS = '$(_flashmoe_models)';

/** For bash 3.2, which macOS has, and newer. Words of ours hold nothing that a shell expands. */
export function bashCompletion(root: CommandFacts, skills: readonly string[]): string {
  const all = places(root, skills);
  const routes = all.filter(({ route }) => route !== '').map(({ route }) => `" ${route}"`);
  const values = all.flatMap(({ route, values: options }) =>
    options.map(({ names, choices, models }) => {
      const patterns = names.map((name) => `"${prefixed(route)}/${name}"`).join('|');
      const words = models ? MODELS : choices.join(' ');
      const answer = words === '' ? '-f' : `-W "${words}"`;
      return `    ${patterns}) COMPREPLY=($(compgen ${answer} -- "$cur")); return ;;`;
    }),
  );
  const words = all.map(
    ({ route, candidates, models }) =>
      `    "${prefixed(route)}") words="${candidates.map(({ word }) => word).join(' ')}${models ? ` ${MODELS}` : ''}" ;;`,
  );
  return `# bash completion of flashmoe; \`flashmoe completions bash\` prints it.
_flashmoe_models() {
  local folder
  printf '%s ' ${CATALOG_NAMES.join(' ')}
  for folder in "\${FLASHMOE_HOME:-$HOME/.flashmoe}"/models/*/; do
    folder=\${folder%/}
    [[ -d $folder ]] && printf '%s ' "\${folder##*/}"
  done
}
_flashmoe() {
  local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD - 1]} route="" words="" word index
  for ((index = 1; index < COMP_CWORD; index++)); do
    word=\${COMP_WORDS[index]}
    case "$route $word" in
    ${routes.join(' | \\\n      ')}) route="$route $word" ;;
    esac
  done
  case "$route/$prev" in
${values.join('\n')}
  esac
  case "$route" in
${words.join('\n')}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -o default -F _flashmoe flashmoe`;
}

const prefixed = (route: string): string => (route === '' ? '' : ` ${route}`);
