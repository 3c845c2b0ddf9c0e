import { Box, Text } from 'ink';
import type { RunView } from '../../jobs/run-view.js';
import type { Style } from '../style.js';
import type { Size } from './Frame.js';

interface LayerMapProps {
  run: RunView;
  size: Size;
  style: Style;
}

/** One character a layer: packed, in work, to come. For windows with lines to spare. */
export function LayerMap({ run, size, style }: LayerMapProps) {
  const layers = run.plan?.layers ?? 0;
  if (layers === 0) return null;
  const { full, empty, pointer } = style.glyph;
  const cells = Array.from({ length: layers }, (_, layer) =>
    run.activeLayers.includes(layer) ? pointer : run.packedLayers.includes(layer) ? full : empty,
  ).join('');
  return (
    <Box width={size.columns - 2}>
      <Text dimColor>layers </Text>
      <Text>{cells}</Text>
    </Box>
  );
}
