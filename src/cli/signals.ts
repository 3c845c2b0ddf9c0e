// How a run ends early. The first Ctrl-C stops gracefully, the second at once; a vanished reader
// (EPIPE) ends quietly; a closed terminal ends like SIGTERM, but a detached run carries on.

import { EXIT, FlashmoeError } from '../base/errors.js';

export interface Interruption {
  readonly signal: AbortSignal;
  /** As a Ctrl-C: for keys read in raw mode, where the terminal sends no signal. */
  interrupt(): void;
  /** Exit status of the interruption, null while there was none. */
  status(): number | null;
  /** True when whoever read stdout or stderr went away: then nothing more is printed. */
  readerGone(): boolean;
}

const SHOW_CURSOR = '\u001B[?25h';

/** Hooks the process's signals; call once. `onFirst` runs at the first Ctrl-C, to say what is going on. */
export function watchSignals(
  process: NodeJS.Process,
  attached: boolean,
  onFirst: () => void,
): Interruption {
  const controller = new AbortController();
  let status: number | null = null;
  let gone = false;

  const stop = (exit: number, message: string): void => {
    if (status !== null) return;
    status = exit;
    controller.abort(new FlashmoeError('ERR_INTERRUPTED', message));
  };
  const interrupt = (): void => {
    if (status !== null) {
      // Ink hides the cursor; at an immediate exit nobody else brings it back.
      if (process.stderr.isTTY) process.stderr.write(SHOW_CURSOR);
      process.exit(status);
    }
    stop(EXIT.interrupted, 'interrupted');
    onFirst();
  };

  process.on('SIGINT', interrupt);
  process.on('SIGTERM', () => stop(EXIT.terminated, 'terminated'));
  process.on('SIGHUP', () => {
    if (attached) stop(EXIT.terminated, 'the terminal was closed');
  });
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error;
      gone = true;
      stop(EXIT.interrupted, 'the reader of the output went away');
    });
  }
  return {
    signal: controller.signal,
    interrupt,
    status: () => status,
    readerGone: () => gone,
  };
}
