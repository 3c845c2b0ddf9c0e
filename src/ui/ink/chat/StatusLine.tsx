import { Text } from 'ink';
import { openingText, type ChatState } from '../../../chat/chat.js';
import { formatExact } from '../../../base/format.js';
import type { Style } from '../../style.js';
import { shorten } from '../../table.js';

interface StatusLineProps {
  state: ChatState;
  now: number;
  width: number;
  style: Style;
}

export function StatusLine({ state, now, width, style }: StatusLineProps) {
  return <Text wrap="truncate">{style.dim(shorten(statusText(state, now, width), width))}</Text>;
}

/** `tiny-4bit, 23.1 tokens/s, 1,204 of 32,768 tokens, 980 cached, Ctrl-C stops`. */
export function statusText(state: ChatState, now: number, width: number): string {
  const { model, place, opening, answering, last, contextLength } = state;
  if (opening !== null) {
    const words = openingText(opening, now);
    return answering === null
      ? `${words}; what you send is answered then`
      : `${words}, Ctrl-C stops`;
  }
  if (answering !== null) {
    const { pieces, firstPieceAt } = answering;
    const seconds = firstPieceAt === null ? 0 : (now - firstPieceAt) / 1000;
    const rate = seconds > 0.5 ? `${((pieces - 1) / seconds).toFixed(1)} tokens/s` : null;
    return [model, rate, 'Ctrl-C stops'].filter((part) => part !== null).join(', ');
  }
  if (last === null) return `${model}, ${place}, /help`;
  const used = last.promptTokens + last.completionTokens;
  const all = contextLength === null ? '' : ` of ${formatExact(contextLength)}`;
  return fitting(width, [
    model,
    `${last.tokensPerSecond.toFixed(1)} tokens/s`,
    `${formatExact(used)}${all} tokens`,
    ...(last.cachedTokens > 0 ? [`${formatExact(last.cachedTokens)} cached`] : []),
    '/help',
  ]);
}

/** As many of the parts as have room, from the first on. */
function fitting(width: number, parts: readonly string[]): string {
  return parts.reduce((line, part) => {
    const longer = `${line}, ${part}`;
    return longer.length <= width ? longer : line;
  });
}
