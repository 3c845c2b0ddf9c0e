// flashmoe service logs: what the background server wrote last, and what it goes on writing.

import { open, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { EXIT, FlashmoeError } from '../../base/errors.js';
import { SERVER_LOG, serviceLogs } from '../../service-command.js';
import type { CliContext } from '../context.js';
import { serviceOf } from '../../application/service.js';

export interface LogsArgs {
  lines: number;
  follow: boolean;
}

/** The end of a file that is looked through for whole lines. */
const TAIL_BYTES = 1 << 20;
const POLL_MS = 400;

export async function showLogs(context: CliContext, { lines, follow }: LogsArgs): Promise<number> {
  const { home, host, signal } = context;
  const path = join(serviceLogs(home, host.homeDirectory, host.platform), SERVER_LOG);
  const found = await readFrom(path, null);
  if (found === null && !follow) {
    throw new FlashmoeError('ERR_SERVICE', `${path} is not there: the service has not run yet`, {
      hint: 'flashmoe service install',
      subject: path,
    });
  }
  const show = (line: string): void => {
    if (context.json) context.emit('log', { line });
    else context.print(line);
  };
  const text = found?.text ?? '';
  const all = text.split('\n').filter((line) => line !== '');
  for (const line of all.slice(-lines)) show(line);
  await mentionCrashes(context);
  if (!follow) return EXIT.done;
  let place = found;
  let rest = '';
  while (!signal.aborted) {
    await sleep(POLL_MS, undefined, { signal }).catch(() => undefined);
    const more = await readFrom(path, place);
    if (more === null) continue;
    const pieces = `${rest}${more.text}`.split('\n');
    rest = pieces.pop() ?? '';
    for (const line of pieces) show(line);
    place = more;
  }
  return context.interruption.status() ?? EXIT.done;
}

interface Place {
  text: string;
  inode: number;
  end: number;
}

/** Bytes since `place`; all anew when the file was put aside meanwhile; null when there is none. */
async function readFrom(path: string, place: Place | null): Promise<Place | null> {
  const file = await open(path, 'r').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null;
    throw error;
  });
  if (file === null) return null;
  try {
    const { ino, size } = await file.stat();
    const isSame = place?.inode === ino && place.end <= size;
    const start = isSame ? place.end : Math.max(0, size - TAIL_BYTES);
    const { buffer, bytesRead } = await file.read(
      Buffer.alloc(size - start),
      0,
      size - start,
      start,
    );
    return { text: buffer.toString('utf8', 0, bytesRead), inode: ino, end: start + bytesRead };
  } finally {
    await file.close();
  }
}

/** The manager's own file holds what the server could not log: a crash, an error while starting. */
async function mentionCrashes(context: CliContext): Promise<void> {
  const { stderrPath } = serviceOf(context);
  const size = await stat(stderrPath).then(
    (found) => found.size,
    () => 0,
  );
  if (size > 0) context.note(`what it could not log itself: ${stderrPath}`);
}
