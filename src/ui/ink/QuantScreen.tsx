import { Text } from 'ink';
import { formatBytes } from '../../base/format.js';
import type { Quant } from '../../models/quant.js';
import { pairLines, wrapText } from '../table.js';
import { chosenModel } from '../wizard-state.js';
import { Frame, isLow } from './Frame.js';
import type { ScreenProps } from './MachineScreen.js';

const NARROWER = 'requantised here, error minimised';
const WORDS: Readonly<Record<Quant, string>> = {
  '5bit': NARROWER,
  '4bit': 'as published, byte for byte',
  '3bit': NARROWER,
  '2bit': NARROWER,
  mixed: '2-bit, the most sensitive third as published',
  tiered: '2-bit, the most used experts as published',
};

const COST = [
  'What 2-bit costs: about half the disk and half the bytes read per token, but quality.',
  'Plain 2-bit rounding took the 397B from perplexity 3.64 to 5.71 in its authors’ test and broke',
  'quotes in JSON and tool calls. Ours minimises the error; still, take 4-bit for agents.',
].join(' ');

export function QuantScreen({ state, size, style }: ScreenProps) {
  const model = chosenModel(state);
  return (
    <Frame
      size={size}
      title="flashmoe setup"
      aside="bits of the experts"
      showsKeys={state.showsKeys}
      keys={[
        ['up/down', 'choose'],
        ['enter', 'continue'],
        ['esc', 'back'],
        ['q', 'quit'],
      ]}
    >
      {state.quants.map((quant, index) => {
        const chosen = index === state.quantIndex;
        const bytes = model?.finalBytes.find((each) => each.quant === quant)?.bytes ?? null;
        const onDisk = bytes === null ? '' : `${formatBytes(bytes)} on disk, `;
        const mark = `${chosen ? style.glyph.pointer : ' '} ${quant.replace('bit', '-bit')}`;
        return pairLines([[mark, onDisk + WORDS[quant]]], {
          indent: 0,
          width: size.columns - 2,
        }).map((line, row) => (
          <Text key={`${quant} ${row}`} bold={chosen}>
            {line}
          </Text>
        ));
      })}
      {isLow(size) ? null : <Text> </Text>}
      {wrapText(COST, Math.min(size.columns - 3, 96)).map((line) => (
        <Text key={line}>{line}</Text>
      ))}
    </Frame>
  );
}
