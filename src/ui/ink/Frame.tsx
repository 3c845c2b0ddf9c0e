import { Box, Text } from 'ink';
import type { ReactNode } from 'react';
import { fit } from '../table.js';

export interface Size {
  columns: number;
  rows: number;
}

interface FrameProps {
  size: Size;
  title: string;
  /** Right of the title: which step this is, or the time taken. */
  aside: string;
  /** `[key, what it does]`; the last line of the frame. */
  keys: readonly (readonly [string, string])[];
  children: ReactNode;
}

/** Title, body, keys. One column stays free: a full last column makes some terminals wrap. */
export function Frame({ size, title, aside, keys, children }: FrameProps) {
  const width = size.columns - 2;
  const room = Math.max(0, width - aside.length - 1);
  return (
    <Box flexDirection="column" width={size.columns - 1} paddingLeft={1}>
      <Text wrap="truncate">
        <Text bold>{fit(title, room)}</Text>
        <Text dimColor> {aside}</Text>
      </Text>
      <Text> </Text>
      {children}
      <Text> </Text>
      <Text wrap="truncate">
        {keys.map(([key, what], index) => (
          <Text key={key}>
            {index === 0 ? '' : '   '}
            <Text bold>{key}</Text>
            <Text dimColor> {what}</Text>
          </Text>
        ))}
      </Text>
    </Box>
  );
}
