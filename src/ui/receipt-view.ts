// What a finished run proved, for the end of setup and for comparing two machines.

import { formatBytes, formatBytesBoth, formatDuration } from '../base/format.js';
import type { CheckReport, KnownAnswer, Receipt } from '../store/receipt.js';
import { expertWords } from './plan-view.js';
import { errorWords } from './quality-view.js';
import type { Style } from './style.js';
import { pairLines, shorten } from './table.js';

export function receiptPairs(receipt: Receipt): [string, string][] {
  const seconds = (Date.parse(receipt.finishedAt) - Date.parse(receipt.startedAt)) / 1000;
  const right = receipt.answers.filter((answer) => answer.ok).length;
  return [
    ['model', `${receipt.model} (${expertWords(receipt)})`],
    ['source', `${receipt.repo} @ ${receipt.commit.slice(0, 12)}${fileWords(receipt)}`],
    ['directory', receipt.directory],
    [
      'on disk',
      `${formatBytesBoth(receipt.finalBytes)}, at most ${formatBytes(receipt.peakBytes)}`,
    ],
    ['downloaded', formatBytes(receipt.downloadedBytes)],
    ['sha256', receipt.contentSha256],
    ...userFileRows(receipt.userFiles ?? []),
    ...(receipt.weightErrors
      ? [['weights', `relative RMSE ${errorWords(receipt.weightErrors)}`] as [string, string]]
      : []),
    ['answers', `${right} of ${receipt.answers.length} right`],
    ...(receipt.check === undefined ? [] : checkPairs(receipt.check)),
    ['speed', `${receipt.tokensPerSecond.toFixed(2)} tokens/s`],
    ['took', formatDuration(seconds)],
  ];
}

/** What was chosen among the GGUF files of a repository. */
function fileWords({ file }: Pick<Receipt, 'file'>): string {
  return file === undefined ? '' : `, --file ${file}`;
}

/** `chat_template.jinja`, by which option it came, and its hash. */
export function userFileRows(
  files: readonly { path: string; sha256: string; option: string }[],
): [string, string][] {
  return files.map(({ path, sha256, option }) => [
    'your file',
    `${path} (${option}), sha256 ${sha256}`,
  ]);
}

/** What the answers were judged by beside themselves, what nobody could judge, and what it cost. */
function checkPairs({ passage, notJudged, cost }: CheckReport): [string, string][] {
  const { decodedTokens, readTokens, seconds } = cost;
  return [
    ...(passage === null
      ? []
      : [
          [
            'passage',
            `perplexity ${passage.perplexity.toFixed(2)} when read again, ${passage.bound} at most`,
          ] as [string, string],
        ]),
    ...notJudged.map((what): [string, string] => ['not judged', what]),
    ['check', `${readTokens} tokens read, ${decodedTokens} decoded, ${formatDuration(seconds)}`],
  ];
}

export function receiptText(receipt: Receipt, width = Number.POSITIVE_INFINITY): string {
  return pairLines(receiptPairs(receipt), { width }).join('\n');
}

/** One line an answer, e.g. `✓ arithmetic: 17 + 25 = → 42`. */
export function answerLine(answer: KnownAnswer, style: Style, width: number): string {
  const mark = answer.ok ? style.good(style.glyph.ok) : style.bad(style.glyph.fail);
  const said = JSON.stringify(answer.answer);
  const told = answer.ok ? said : `${said}, expected ${JSON.stringify(answer.expected)}`;
  return `${mark} ${shorten(`${answer.name}: ${told}`, width - 2)}`;
}
