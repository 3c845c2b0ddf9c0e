// docs/settings.md from the schema.

import { longName, type OptionSet } from './option.js';
import { MODEL_SETTINGS, SETTINGS } from './schema.js';

export function settingsPage(): string {
  return `# Settings

<!-- Made by \`node tools/pages.mjs\` from src/settings/schema.ts. -->

\`settings.json\` lies in \`~/.flashmoe\`, or where \`$FLASHMOE_HOME\` or \`--home\` says; \`flashmoe config path\` prints its path. It is one JSON
object. Every key may be absent.

${table(SETTINGS)}

## For one model

Below \`models\`, by the name that \`flashmoe status\` shows, these keys hold for one model and go before the ones above:
${Object.keys(MODEL_SETTINGS)
  .map((key) => `\`${key}\``)
  .join(', ')}.

\`\`\`json
{
  "model": "qwen3.5-397b-a17b",
  "models": { "tiny": { "backend": "cpu" } }
}
\`\`\`

## Reading and changing it

| command | does |
| --- | --- |
| \`flashmoe config list\` | every key that is set, and what is wrong in the file |
| \`flashmoe config get KEY\` | one value |
| \`flashmoe config set KEY VALUE\` | sets one key; \`--model NAME\` sets it for one model |
| \`flashmoe config unset KEY\` | removes one key |
| \`flashmoe config path\` | the path of the file |
| \`flashmoe use MODEL\` | the model that answers when none is named |

Keys that this version does not know are kept and named by \`flashmoe doctor\`. When the file is not JSON, or a value cannot be used,
\`flashmoe doctor\` says so, and \`serve\` and \`run\` stop before they do anything; nothing writes over such a file except \`config set\` and
\`config unset\` of a key, which need a file that is JSON.

A server reads the file when it starts.
`;
}

function table(set: OptionSet): string {
  const rows = Object.entries(set).map(([key, each]) => {
    const flag = each.flags === '' ? '' : `\`--${longName(each)}\``;
    return [`\`${key}\``, each.kind.what, each.fallback ?? '', flag, each.about];
  });
  const heads = ['key', 'value must be', 'default', 'flag that goes before it', 'what it does'];
  return [heads, heads.map(() => '---'), ...rows]
    .map((cells) => `| ${cells.join(' | ')} |`)
    .join('\n');
}
