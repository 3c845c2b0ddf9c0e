import { Box, Text } from 'ink';

interface ProblemProps {
  problem: { message: string; hint: string | null };
}

/** Wraps, unlike everything else: an error is read whole. */
export function Problem({ problem }: ProblemProps) {
  return (
    <Box flexDirection="column">
      <Text color="red">{problem.message}</Text>
      {problem.hint === null ? null : <Text>hint: {problem.hint}</Text>}
    </Box>
  );
}
