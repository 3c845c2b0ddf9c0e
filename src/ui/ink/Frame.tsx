import { Box, Text } from 'ink';
import type { ReactNode } from 'react';
import { fit } from '../table.js';

export interface Size {
  columns: number;
  rows: number;
}

/** Below this height blank lines and what is only good to know go. */
const LOW_ROWS = 18;
/** Below this width keys stand closer together. */
const NARROW_COLUMNS = 70;

export function isLow({ rows }: Size): boolean {
  return rows < LOW_ROWS;
}

export function isNarrow({ columns }: Size): boolean {
  return columns < NARROW_COLUMNS;
}

interface FrameProps {
  size: Size;
  title: string;
  /** Right of the title: which step this is, or the time taken. */
  aside: string;
  /** `[key, what it does]`; the last line of the frame, or in place of the body when `showsKeys`. */
  keys: readonly (readonly [string, string])[];
  showsKeys?: boolean;
  /** A text is typed: `?` is a letter of it. */
  isText?: boolean;
  children: ReactNode;
}

/** Title, body, keys. One column stays free: a full last column makes some terminals wrap. */
export function Frame(props: FrameProps) {
  const { size, title, aside, keys, showsKeys = false, isText = false, children } = props;
  const width = size.columns - 2;
  const room = Math.max(0, width - aside.length - 1);
  const blank = isLow(size) ? null : <Text> </Text>;
  const line: readonly (readonly [string, string])[] = showsKeys
    ? [['any key', 'back']]
    : isText
      ? keys
      : [...keys, ['?', 'keys']];
  const gap = isNarrow(size) ? '  ' : '   ';
  return (
    <Box flexDirection="column" width={size.columns - 1} paddingLeft={1}>
      <Text wrap="truncate">
        <Text bold>{fit(title, room)}</Text>
        <Text dimColor> {aside}</Text>
      </Text>
      {blank}
      {showsKeys ? <KeyList keys={keys} /> : children}
      {blank}
      <Text wrap="truncate">
        {line.map(([key, what], index) => (
          <Text key={key}>
            {index === 0 ? '' : gap}
            <Text bold>{key}</Text>
            <Text dimColor> {what}</Text>
          </Text>
        ))}
      </Text>
    </Box>
  );
}

function KeyList({ keys }: Pick<FrameProps, 'keys'>) {
  const all = [...keys, ['ctrl-c', 'stop safely; a second time at once'] as const];
  return all.map(([key, what]) => (
    <Text key={key} wrap="truncate">
      <Text bold>{key.padEnd(9)}</Text> {what}
    </Text>
  ));
}
