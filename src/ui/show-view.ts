// What is known of one model here, as lines for people.

import { terminalText } from '../base/terminal-text.js';
import { formatBytesBoth } from '../base/format.js';
import { pairLines } from './table.js';

export interface ShownModel {
  id: string;
  state: string;
  why: string | null;
  next: string;
  model: string | null;
  /** For people, what it is; null for a repository that is not in the catalogue. */
  title: string | null;
  repo: string | null;
  commit: string | null;
  quant: string | null;
  bytes: number | null;
  folder: string;
  isDefault: boolean;
  /** Files of the user's own, by option. */
  ownFiles: { option: string; path: string; sha256: string }[];
  tokensPerSecond: number | null;
  /** `9 of 9 right`; null where nobody asked. */
  check: string | null;
}

export function showText(shown: ShownModel): string {
  const pairs: [string, string | null][] = [
    ['state', shown.why === null ? shown.state : `${shown.state}: ${shown.why}`],
    ['next', shown.next],
    ['is', shown.title],
    ['repository', shown.repo],
    ['commit', shown.commit],
    ['experts', shown.quant],
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
