// Some templates print calls and their results but no list of tools. Then the list goes into the system
// text, with the form in which the template writes calls.

import type { CallForm } from './calls/form.js';
import { pythonJson } from './python-json.js';

/** True for a template that can't be told of tools. */
export function lacksTools(template: string): boolean {
  return !/\btools\b/.test(template);
}

/** @param tools as a template would get them */
export function toolsText(tools: readonly unknown[], form: CallForm): string {
  return [
    '# Tools',
    '',
    'You can call these functions, one JSON object a line:',
    ...tools.map(pythonJson),
    '',
    'To call some of them, end your answer with:',
    callExample(form),
  ].join('\n');
}

function callExample({ name, section, open, close, markers, written }: CallForm): string {
  if (name === 'harmony') return `${open}NAME <|constrain|>json<|message|>{"KEY": VALUE}${close}`;
  if (written !== undefined) {
    const { begin, before, after, end, line } = written;
    const call = begin('NAME') + before('KEY', true) + 'VALUE' + after + end;
    return section === null ? call : section.open + line + call + line + section.close;
  }
  const separator = markers.at(-1) ?? '';
  const call =
    name === 'fenced-json'
      ? `function${separator}NAME\n\`\`\`json\n{"KEY": VALUE}\n\`\`\``
      : name === 'inline-json'
        ? `NAME${separator}{"KEY": VALUE}`
        : name === 'numbered-json'
          ? `functions.NAME:0${separator}{"KEY": VALUE}`
          : name === 'json-envelope'
            ? '\n{"name": NAME, "arguments": {"KEY": VALUE}}\n'
            : '\n<function=NAME>\n<parameter=KEY>\nVALUE\n</parameter>\n</function>\n';
  return (section?.open ?? '') + open + call + close + (section?.close ?? '');
}
