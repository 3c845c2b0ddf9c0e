// Setups one after the other in one process, on a disk where each operation fails the first time, until one of them
// comes to its end. Prints how each ended. Arguments: home, folder of the repository, width, and the errors.
// The errors come from failing-disk.c, which is preloaded.
import type { InstallEvent } from '../../../src/jobs/events.js';
import type { Quant } from '../../../src/models/quant.js';
import { setUp } from '../in-process.js';

const [home = '', bundled = '', quant = '4bit', errors = ''] = process.argv.slice(2);
/** More than there are operations and paths. */
const MOST_RUNS = 500;

export interface Attempt {
  code: string | null;
  message: string;
  resumable: boolean;
  /** Reasons that it waited for. */
  waits: string[];
}

process.env['FM_DISK_FAULT'] = errors;
for (let run = 0; run < MOST_RUNS; run += 1) {
  let isWhole = false;
  const onEvent = (event: InstallEvent, { abort }: { abort: AbortController }): void => {
    if (event.type !== 'step' || event.step !== 'finish' || event.status === 'started') return;
    // What the model answers is no matter of the disk's.
    isWhole = event.status !== 'failed';
    abort.abort();
  };
  const request = { bundled, questions: [] };
  const { events, error } = await setUp(home, { quant: quant as Quant, request, onEvent });
  const waits = events.flatMap((event) => (event.type === 'waiting' ? [event.reason] : []));
  const attempt: Attempt = {
    code: isWhole ? null : (error?.code ?? 'none'),
    message: error?.message ?? '',
    resumable: error?.resumable ?? false,
    waits,
  };
  console.log(JSON.stringify(attempt));
  if (isWhole) break;
}
