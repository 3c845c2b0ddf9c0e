import { Box, Text } from 'ink';
import { wrapText } from '../table.js';
import type { Size } from './Frame.js';

interface ProblemProps {
  problem: { message: string; hint: string | null };
  size: Size;
}

/** Wraps at spaces, unlike everything else: an error is read whole, and an address stays in one piece where it fits a line. */
export function Problem({ problem, size }: ProblemProps) {
  const lines = (text: string): string[] => wrapText(text, size.columns - 3);
  return (
    <Box flexDirection="column">
      {lines(problem.message).map((line) => (
        <Text key={line} color="red">
          {line}
        </Text>
      ))}
      {problem.hint === null
        ? null
        : lines(`hint: ${problem.hint}`).map((line) => <Text key={line}>{line}</Text>)}
    </Box>
  );
}
