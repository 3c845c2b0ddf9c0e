// Puts the wizard on a terminal and takes it off again, whatever happens in between.

import { render } from 'ink';
import type { Style } from '../style.js';
import type { Wizard, WizardOutcome } from '../wizard.js';
import { App } from './App.js';

export interface TerminalStreams {
  stdin: NodeJS.ReadStream;
  stdout: NodeJS.WriteStream;
  stderr: NodeJS.WriteStream;
}

const FRAMES_PER_SECOND = 4;

/** Runs the wizard to its outcome. The cursor is back and raw mode off when this settles. */
export async function runOnTerminal(
  wizard: Wizard,
  streams: TerminalStreams,
  style: Style,
): Promise<WizardOutcome> {
  const view = render(<App wizard={wizard} style={style} />, {
    ...streams,
    maxFps: FRAMES_PER_SECOND,
    // Ctrl-C means the same here as anywhere: the wizard is told, and stops gracefully.
    exitOnCtrlC: false,
    patchConsole: false,
  });
  try {
    return await wizard.run();
  } finally {
    view.unmount();
    await view.waitUntilExit();
  }
}
