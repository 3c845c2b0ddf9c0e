import { Box, Text } from 'ink';
import { readingText, type Answering } from '../../../chat/chat.js';
import { terminalText } from '../../../base/terminal-text.js';
import { bar } from '../../bar.js';
import { markdownLines } from '../../markdown.js';
import type { Style } from '../../style.js';

interface LiveAnswerProps {
  answering: Answering;
  width: number;
  /** Of the window. */
  rows: number;
  style: Style;
  now: number;
  showsThinking: boolean;
}

/** Lines below the answer: the line that is written, the status, and a free one. */
const OTHER_LINES = 6;

/** The answer as far as it came. A long one shows its end: a frame higher than the window can't be redrawn. */
export function LiveAnswer({ answering, width, rows, style, now, showsThinking }: LiveAnswerProps) {
  const room = Math.max(3, rows - OTHER_LINES);
  const lines = liveLines(answering, width, style, now, showsThinking);
  const shown = lines.length <= room ? lines : [style.dim('...'), ...lines.slice(1 - room)];
  return (
    <Box flexDirection="column">
      {shown.map((line, index) => (
        <Text key={index} wrap="truncate">
          {line === '' ? ' ' : line}
        </Text>
      ))}
    </Box>
  );
}

function liveLines(
  answering: Answering,
  width: number,
  style: Style,
  now: number,
  showsThinking: boolean,
): string[] {
  const { reasoning, text, reading } = answering;
  if (reasoning === '' && text === '') {
    const words = style.dim(readingText(answering, now));
    if (reading === null || reading.total === 0) return [words];
    return [bar(reading.done / reading.total, Math.min(40, width), style.glyph), words];
  }
  const thoughts = terminalText(reasoning).trim();
  const thinking =
    thoughts === ''
      ? []
      : showsThinking
        ? thoughts.split('\n').map((line) => style.dim(line))
        : [
            style.dim(
              `${text === '' ? 'thinking' : 'thought'}: ${lastWords(thoughts, width - 20)}`,
            ),
          ];
  return [...thinking, ...markdownLines(text, width, style)];
}

/** The end of what is thought, folded into one line. */
function lastWords(text: string, width: number): string {
  const line = text.replace(/\s+/g, ' ');
  return line.length <= width ? line : `...${line.slice(3 - width)}`;
}
