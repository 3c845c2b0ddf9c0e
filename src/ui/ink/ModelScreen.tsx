import { Text } from 'ink';
import { modelFacts, modelTable } from '../models-view.js';
import { wrapText } from '../table.js';
import { chosenModel, SOURCES } from '../wizard-state.js';
import { Frame, isLow } from './Frame.js';
import type { ScreenProps } from './MachineScreen.js';
import { Problem } from './Problem.js';

/** Lines of the frame and the table's header. */
const FIXED_ROWS = 5;
const LOW_FIXED_ROWS = 4;

export function ModelScreen({ state, size, style }: ScreenProps) {
  const chosen = chosenModel(state);
  const [header = '', ...models] = modelTable(state.models, size.columns - 6);
  const lines = state.models.length === 0 ? [] : [...models, ...SOURCES.map(({ row }) => row)];
  const about = aboutLines(state.refusal, chosen === null ? null : modelFacts(chosen), size);
  const low = isLow(size);
  // What doesn't fit scrolls, the chosen row always in sight.
  const above = about.length + (low ? LOW_FIXED_ROWS : FIXED_ROWS + 2);
  const room = Math.max(2, size.rows - above);
  const from = Math.min(
    Math.max(0, state.modelIndex - Math.floor(room / 2)),
    Math.max(0, lines.length - room),
  );
  return (
    <Frame
      size={size}
      title="flashmoe setup"
      aside="the model"
      showsKeys={state.showsKeys}
      keys={[
        ['up/down', 'choose'],
        ['enter', chosen?.verdict.level === 'no' ? 'why not' : 'continue'],
        ['esc', 'back'],
        ['q', 'quit'],
      ]}
    >
      {state.busy === null ? null : <Text dimColor>{state.busy}</Text>}
      {state.problem === null ? null : <Problem problem={state.problem} size={size} />}
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
      {about.length === 0 || low ? null : <Text> </Text>}
      {about.map((line) => (
        <Text key={line} wrap="truncate" {...(state.refusal === null ? {} : { color: 'yellow' })}>
          {line}
        </Text>
      ))}
    </Frame>
  );
}

/** In few lines where there are few. */
function aboutLines(
  refusal: string | null,
  facts: string | null,
  { columns, rows }: ScreenProps['size'],
): string[] {
  const lines = wrapText(refusal ?? facts ?? '', columns - 3);
  const most = Math.max(3, rows - 11);
  return facts === null && refusal === null ? [] : lines.slice(0, most);
}
