import type { CommandFacts } from '../command-tree.js';
import { places } from './words.js';

export function fishCompletion(root: CommandFacts): string {
  const all = places(root);
  const routes = all.filter(({ route }) => route !== '').map(({ route }) => quoted(route));
  const lines = all.flatMap(({ route, candidates, values }) => {
    const at = `complete -c flashmoe -n ${quoted(`__flashmoe_at ${quoted(route)}`)}`;
    return candidates.map(({ word, description }) => {
      const about = description === '' ? '' : ` -d ${quoted(description)}`;
      if (!word.startsWith('--')) return `${at} -f -a ${quoted(word)}${about}`;
      const option = values.find(({ names }) => names.includes(word));
      const flag = `${at} -l ${word.slice(2)}${about}`;
      if (option === undefined) return flag;
      return option.choices.length === 0
        ? `${flag} -r`
        : `${flag} -x -a ${quoted(option.choices.join(' '))}`;
    });
  });
  return `# fish completion of flashmoe; \`flashmoe completions fish\` prints it.
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
