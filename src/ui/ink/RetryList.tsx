import { Text } from 'ink';
import { clockWithSeconds } from '../../base/clock.js';
import type { RunView } from '../../jobs/run-view.js';
import type { Size } from './Frame.js';

interface RetryListProps {
  run: RunView;
  size: Size;
  /** Lines it may take. */
  room: number;
}

/** The latest tries that failed, with their reasons. */
export function RetryList({ run, size, room }: RetryListProps) {
  const shown = run.failedTries.slice(-room);
  return shown.map(({ at, item, attempt, reason }, index) => (
    <Text key={index} wrap="truncate">
      {clockWithSeconds(at)} try {attempt}: {reason}
      {size.columns < 80 ? '' : `, ${item}`}
    </Text>
  ));
}
