import { Text } from 'ink';
import type { Finding } from '../../jobs/run-view.js';
import type { Style } from '../style.js';
import type { WizardState } from '../wizard-state.js';
import { blocked } from '../wizard-state.js';
import { Frame, isLow, type Size } from './Frame.js';
import { Problem } from './Problem.js';

export interface ScreenProps {
  state: WizardState;
  size: Size;
  style: Style;
}

const COLOR = { ok: 'green', info: 'cyan', warn: 'yellow', fail: 'red' } as const;

export function MachineScreen({ state, size, style }: ScreenProps) {
  const stuck = blocked(state);
  return (
    <Frame
      size={size}
      title="flashmoe setup"
      aside="this machine"
      showsKeys={state.showsKeys}
      keys={
        stuck || state.busy !== null
          ? [['q', 'quit']]
          : [
              ['enter', 'continue'],
              ['q', 'quit'],
            ]
      }
    >
      {state.busy === null ? null : <Text dimColor>{state.busy}</Text>}
      {state.problem === null ? null : <Problem problem={state.problem} size={size} />}
      {fitting(state.findings, size.rows - (isLow(size) ? 4 : 7)).map((finding) => (
        <FindingLines key={finding.id} finding={finding} style={style} />
      ))}
      {stuck ? <Text color="red">this has to be put right first</Text> : null}
    </Frame>
  );
}

/** What fails and what is warned of comes first where there is no room for all. */
function fitting(findings: readonly Finding[], room: number): readonly Finding[] {
  const linesOf = ({ hint }: Finding): number => (hint === undefined ? 1 : 2);
  const all = findings.reduce((sum, each) => sum + linesOf(each), 0);
  if (all <= room) return findings;
  const order = ['fail', 'warn', 'info', 'ok'];
  const urgent = [...findings].sort(
    (a, b) => order.indexOf(a.severity) - order.indexOf(b.severity),
  );
  let left = room;
  return urgent.filter((each) => (left -= linesOf(each)) >= 0);
}

function FindingLines({ finding, style }: { finding: Finding; style: Style }) {
  return (
    <>
      <Text wrap="truncate">
        <Text color={COLOR[finding.severity]}>{style.glyph[finding.severity]}</Text> {finding.title}
      </Text>
      {finding.hint === undefined ? null : (
        <Text wrap="truncate">
          {'  '}hint: {finding.hint}
        </Text>
      )}
    </>
  );
}
