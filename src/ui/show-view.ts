// What is known of one model here, as lines for people.

import type { ShownModel } from '../application/show.js';
import { terminalText } from '../base/terminal-text.js';
import { formatBytesBoth } from '../base/format.js';
import { pairLines } from './table.js';

export function showText(shown: ShownModel): string {
  const pairs: [string, string | null][] = [
    ['state', shown.why === null ? shown.state : `${shown.state}: ${shown.why}`],
    ['next', shown.next],
    ['is', shown.title],
    ['repository', shown.repo],
    ['commit', shown.commit],
    ['file', shown.file],
    ['experts', shown.expertTypes?.join(', ') ?? shown.quant],
    ['on disk', shown.bytes === null ? null : formatBytesBoth(shown.bytes)],
    ['folder', shown.folder],
    ['check', shown.check],
    [
      'speed',
      shown.tokensPerSecond === null
        ? null
        : `${shown.tokensPerSecond.toFixed(2)} tokens/s in its last check`,
    ],
    ...shown.ownFiles.map(({ option, path, sha256 }): [string, string] => [
      `--${option}`,
      `${path}, sha256 ${sha256.slice(0, 12)}`,
    ]),
  ];
  const known = pairs.filter((pair): pair is [string, string] => pair[1] !== null);
  const mark = shown.isDefault ? ' (answers when none is named)' : '';
  const lines = pairLines(known.map(([name, value]) => [name, terminalText(value)] as const));
  return [`${shown.id}${mark}`, ...lines].join('\n');
}
