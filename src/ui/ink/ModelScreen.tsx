import { Text } from 'ink';
import { modelTable } from '../models-view.js';
import { chosenModel } from '../wizard-state.js';
import { Frame } from './Frame.js';
import type { ScreenProps } from './MachineScreen.js';
import { Problem } from './Problem.js';

export function ModelScreen({ state, size, style }: ScreenProps) {
  const chosen = chosenModel(state);
  const [header = '', ...lines] = modelTable(state.models, size.columns - 6);
  // What doesn't fit scrolls, the chosen row always in sight.
  const room = Math.max(1, size.rows - 10);
  const from = Math.min(
    Math.max(0, state.modelIndex - Math.floor(room / 2)),
    Math.max(0, lines.length - room),
  );
  return (
    <Frame
      size={size}
      title="flashmoe setup"
      aside="the model"
      keys={[
        ['up/down', 'choose'],
        ['enter', chosen?.verdict.level === 'no' ? '(not on this machine)' : 'continue'],
        ['esc', 'back'],
        ['q', 'quit'],
      ]}
    >
      {state.busy === null ? null : <Text dimColor>{state.busy}</Text>}
      {state.problem === null ? null : <Problem problem={state.problem} />}
      {state.models.length === 0 ? null : (
        <Text dimColor wrap="truncate">
          {'  '}
          {header}
        </Text>
      )}
      {lines.slice(from, from + room).map((line, index) => {
        const chosenRow = from + index === state.modelIndex;
        return (
          <Text key={line} bold={chosenRow} wrap="truncate">
            {chosenRow ? style.glyph.pointer : ' '} {line}
          </Text>
        );
      })}
      {chosen === null ? null : (
        <>
          <Text> </Text>
          <Text dimColor wrap="truncate">
            {chosen.repo}
          </Text>
          <Text wrap="truncate">{chosen.verdict.text}</Text>
        </>
      )}
    </Frame>
  );
}
