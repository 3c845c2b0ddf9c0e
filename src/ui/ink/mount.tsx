// Puts the wizard on a terminal and takes it off again, whatever happens in between.

import { render } from 'ink';
import type { ReactNode } from 'react';
import type { Style } from '../style.js';
import type { Wizard, WizardOutcome } from '../wizard.js';
import { App } from './App.js';
import { TerminalWindow } from './window.js';

export interface TerminalStreams {
  stdin: NodeJS.ReadStream;
  stdout: NodeJS.WriteStream;
  stderr: NodeJS.WriteStream;
}

const FRAMES_PER_SECOND = 4;

/** Draws `view` on the window and takes it off again when `done` settles, in whatever way. */
export async function drawWhile<T>(
  view: ReactNode,
  { stdin, stderr }: TerminalStreams,
  window: TerminalWindow,
  maxFps: number,
  done: () => Promise<T>,
): Promise<T> {
  const drawn = render(view, {
    ...{ stdin, stderr, maxFps },
    // Ink asks for what its type says a terminal has, and uses no more than the window has.
    stdout: window as unknown as NodeJS.WriteStream,
    // What Ctrl-C means is for the view to say.
    exitOnCtrlC: false,
    patchConsole: false,
  });
  try {
    return await done();
  } finally {
    drawn.unmount();
    await drawn.waitUntilExit();
    window.finish();
  }
}

/** Runs the wizard to its outcome. The cursor is back and raw mode off when this settles. */
export async function runOnTerminal(
  wizard: Wizard,
  streams: TerminalStreams,
  style: Style,
): Promise<WizardOutcome> {
  const window = new TerminalWindow(streams.stdout);
  const view = <App wizard={wizard} style={style} window={window} />;
  return await drawWhile(view, streams, window, FRAMES_PER_SECOND, () => wizard.run());
}
