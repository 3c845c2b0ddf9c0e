import { Text } from 'ink';
import { wrapText } from '../table.js';
import { chosenSource } from '../wizard-state.js';
import { Frame } from './Frame.js';
import type { ScreenProps } from './MachineScreen.js';
import { Problem } from './Problem.js';

/** A repository, a folder or an address is typed or pasted. */
export function SourceScreen({ state, size, style }: ScreenProps) {
  const source = chosenSource(state);
  const room = Math.max(10, size.columns - 6);
  // Of a long one the end is seen, where the cursor is.
  const seen = Array.from(state.typed).slice(-room).join('');
  return (
    <Frame
      size={size}
      title="flashmoe setup"
      aside="where it comes from"
      isText
      keys={[
        ['enter', 'look it up'],
        ['esc', 'back'],
      ]}
    >
      {wrapText(source?.ask ?? '', size.columns - 3).map((line) => (
        <Text key={line}>{line}</Text>
      ))}
      <Text dimColor wrap="truncate">
        for example {source?.example ?? ''}
      </Text>
      <Text> </Text>
      <Text wrap="truncate">
        {style.glyph.pointer} {seen}
        <Text inverse> </Text>
      </Text>
      {state.busy === null ? null : <Text dimColor>{state.busy}</Text>}
      {state.refusal === null ? null : <Text color="yellow">{state.refusal}</Text>}
      {state.problem === null ? null : <Problem problem={state.problem} size={size} />}
    </Frame>
  );
}
