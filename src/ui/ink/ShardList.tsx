import { Text } from 'ink';
import { formatBytes } from '../../base/format.js';
import { bar } from '../bar.js';
import { activeShards } from '../../jobs/progress.js';
import type { RunView } from '../../jobs/run-view.js';
import type { Style } from '../style.js';
import { fit } from '../table.js';
import type { Size } from './Frame.js';

interface ShardListProps {
  run: RunView;
  size: Size;
  style: Style;
  /** Lines it may take. */
  room: number;
}

/** Shards on their way, a bar each. */
export function ShardList({ run, size, style, room }: ShardListProps) {
  const shards = activeShards(run).slice(0, room);
  const nameWidth = Math.min(40, Math.max(16, size.columns - 46));
  const barWidth = Math.max(6, Math.min(40, size.columns - nameWidth - 28));
  return shards.map(({ shard, done, total }) => (
    <Text key={shard} wrap="truncate">
      {fit(shard, nameWidth)} {bar(total === 0 ? 0 : done / total, barWidth, style.glyph)}{' '}
      {formatBytes(done)} of {formatBytes(total)}
    </Text>
  ));
}
