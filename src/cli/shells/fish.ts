import type { CommandFacts } from '../command-tree.js';
import { CATALOG_NAMES, places } from './words.js';

export function fishCompletion(root: CommandFacts, skills: readonly string[]): string {
  const all = places(root, skills);
  const routes = all.filter(({ route }) => route !== '').map(({ route }) => quoted(route));
  const lines = all.flatMap(({ route, candidates, values, models }) => {
    const at = `complete -c flashmoe -n ${quoted(`__flashmoe_at ${quoted(route)}`)}`;
    const named = models ? [`${at} -f -a ${quoted('(__flashmoe_models)')}`] : [];
    return named.concat(
      candidates.map(({ word, description }) => {
        const about = description === '' ? '' : ` -d ${quoted(description)}`;
        if (!word.startsWith('--')) return `${at} -f -a ${quoted(word)}${about}`;
        const option = values.find(({ names }) => names.includes(word));
        const flag = `${at} -l ${word.slice(2)}${about}`;
        if (option === undefined) return flag;
        const words = option.models ? '(__flashmoe_models)' : option.choices.join(' ');
        return words === '' ? `${flag} -r` : `${flag} -x -a ${quoted(words)}`;
      }),
    );
  });
  return `# fish completion of flashmoe; \`flashmoe completions fish\` prints it.
function __flashmoe_models
    printf '%s\\n' ${CATALOG_NAMES.join(' ')}
    set -l home $FLASHMOE_HOME
    test -n "$home"; or set home ~/.flashmoe
    for folder in $home/models/*/
        basename $folder
    end
end
function __flashmoe_at
    set -l route
    for word in (commandline -opc)[2..-1]
        set -l longer (string join ' ' -- $route $word)
        if contains -- "$longer" ${routes.join(' ')}
            set route $route $word
        end
    end
    set -l have (string join ' ' -- $route)
    test "$have" = "$argv[1]"
end
${lines.join('\n')}`;
}

const quoted = (text: string): string =>
  `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
