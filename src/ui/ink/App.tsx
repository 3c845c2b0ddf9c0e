// The wizard on a terminal: a screen for each state, keys to the wizard, nothing kept in between.

import { useInput, useStdin, type Key } from 'ink';
import { useSyncExternalStore } from 'react';
import { terminalText } from '../../base/terminal-text.js';
import type { Style } from '../style.js';
import type { WizardKey, WizardState } from '../wizard-state.js';
import type { Wizard } from '../wizard.js';
import type { Size } from './Frame.js';
import { MachineScreen } from './MachineScreen.js';
import { ModelScreen } from './ModelScreen.js';
import { PlanScreen } from './PlanScreen.js';
import { QuantScreen } from './QuantScreen.js';
import { logText, RunScreen } from './RunScreen.js';
import { SourceScreen } from './SourceScreen.js';
import { usePrinted, useWindow } from './use-window.js';
import type { TerminalWindow } from './window.js';

const SCREENS = {
  machine: MachineScreen,
  model: ModelScreen,
  source: SourceScreen,
  quant: QuantScreen,
  plan: PlanScreen,
  run: RunScreen,
} as const;

/** A pure view of one state; tests render this at any size. */
export function WizardView({
  state,
  size,
  style,
}: {
  state: WizardState;
  size: Size;
  style: Style;
}) {
  const Screen = SCREENS[state.screen];
  return <Screen state={state} size={size} style={style} />;
}

interface AppProps {
  wizard: Wizard;
  style: Style;
  window: TerminalWindow;
}

export function App({ wizard, style, window }: AppProps) {
  const state = useSyncExternalStore(wizard.subscribe, wizard.state);
  const size = useWindow(window);
  usePrinted(window, state.run.log, (line) => [logText(line, style, size)]);
  const { isRawModeSupported } = useStdin();
  return (
    <>
      {isRawModeSupported ? <Keys wizard={wizard} /> : null}
      <WizardView state={state} size={size} style={style} />
    </>
  );
}

/** Apart, because useInput throws where the terminal can't hand over single keys. */
function Keys({ wizard }: { wizard: Wizard }) {
  useInput((input, key) => {
    const { screen, showsKeys } = wizard.state();
    const meant = screen === 'source' ? typedKey(input, key) : keyName(input, key);
    // Any key goes back from the keys, also one that means nothing else.
    const name = meant ?? (showsKeys ? 'help' : null);
    if (name !== null) wizard.key(name);
  });
  return null;
}

function keyName(input: string, key: Key): WizardKey | null {
  if (key.ctrl) return input === 'c' ? 'interrupt' : null;
  if (key.upArrow) return 'up';
  if (key.downArrow) return 'down';
  if (key.return) return 'enter';
  if (key.escape) return 'escape';
  if (input === ' ') return 'space';
  if (input === 'k') return 'up';
  if (input === 'j') return 'down';
  if (input === '?') return 'help';
  return input === 'p' || input === 'b' || input === 'q' || input === 'r' ? input : null;
}

/** Where a text is asked for. */
function typedKey(input: string, key: Key): WizardKey | null {
  if (key.ctrl) return input === 'c' ? 'interrupt' : null;
  if (key.return) return 'enter';
  if (key.escape) return 'escape';
  if (key.backspace || key.delete) return 'backspace';
  const text = terminalText(input).replaceAll('\n', '');
  return text === '' ? null : { text };
}
