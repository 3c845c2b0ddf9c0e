// One real setup of a folder that is served as a repository, as its own process. Prints every event but
// progress as a JSON line. Arguments: a JSON object of type `Job`.
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { currentHost } from '../../../src/base/host.js';
import { homePaths } from '../../../src/base/paths.js';
import { Controls } from '../../../src/jobs/controls.js';
import { openSetup } from '../../../src/installer/setup.js';
import { hubSettings } from '../../../src/hub/settings.js';
import { openEngine } from '../../../src/engine/open-engine.js';
import type { Quant } from '../../../src/models/quant.js';
import type { TokensQuestion } from '../../../src/models/smoke.js';

export interface Job {
  home: string;
  /** Served on loopback by the process itself; null: the hub of HF_ENDPOINT is asked. */
  folder: string | null;
  quant: Quant;
  questions: TokensQuestion[];
  keepSource?: boolean;
  calibration?: string;
  size?: number;
  /** SIGKILL to itself at its nth journal line of this run: before it, in the middle of it, or after it is durable. */
  kill?: { line: number; when: 'before' | 'torn' | 'after' };
}

const job = JSON.parse(process.argv[2] ?? '') as Job;
if (job.kill) await dieAtLine(job.kill.line, job.kill.when);

const abort = new AbortController();
process.on('SIGINT', () => {
  abort.abort();
});
const emit = (event: { type: string }): void => {
  if (event.type !== 'progress') process.stdout.write(`${JSON.stringify(event)}\n`);
};
const host = currentHost();
const { settings } = await hubSettings({ ...host, userAgent: 'flashmoe-test' });
const setup = await openSetup(
  {
    ...{ model: 'tiny', repo: 'flashmoe/tiny', revision: 'main', quant: job.quant },
    ...{ bundled: job.folder, questions: job.questions, bytesPerSecond: null },
    keepSource: job.keepSource ?? false,
    calibration: job.calibration ?? null,
    size: job.size ?? null,
    resumeCommand: 'flashmoe setup --model tiny',
  },
  {
    ...{ home: homePaths(job.home), host, hub: settings, installService: null, pollMs: 50 },
    openEngine,
  },
  { emit, signal: abort.signal },
);
try {
  await setup.run({ emit, signal: abort.signal, controls: new Controls() });
} catch (error) {
  process.exitCode = (error as { code?: string }).code === 'ERR_INTERRUPTED' ? 130 : 1;
} finally {
  await setup.close();
}

/** Only the journal appends to a file handle, so that is where it is caught. */
async function dieAtLine(line: number, when: 'before' | 'torn' | 'after'): Promise<void> {
  const handle = await open('/dev/null', constants.O_RDONLY);
  const prototype = Object.getPrototypeOf(handle) as typeof handle;
  await handle.close();
  // eslint-disable-next-line @typescript-eslint/unbound-method -- called with `this` below
  const { appendFile, sync } = prototype;
  const die = (): void => {
    process.kill(process.pid, 'SIGKILL');
  };
  let lines = 0;
  prototype.appendFile = async function (this: typeof handle, data: string | Uint8Array) {
    lines += 1;
    if (lines === line && when === 'before') die();
    if (lines === line && when === 'torn') {
      await appendFile.call(this, data.slice(0, Math.floor(data.length / 2)));
      die();
    }
    await appendFile.call(this, data);
    if (lines !== line) return;
    await sync.call(this);
    die();
  };
}
