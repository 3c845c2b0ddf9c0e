// What a server needs beside serving when nobody watches it: a log of its own, one instance, a pause after crashes,
// and patience while the volume with the models is not there.

import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { FlashmoeError } from '../base/errors.js';
import { acquireLock } from '../base/file-lock.js';
import { copyTruncate, RotatingLog } from '../base/log-files.js';
import { absentVolume } from '../base/mounts.js';
import type { HomePaths } from '../base/paths.js';
import { absentPlace } from '../store/location.js';
import { installationId } from '../store/model-files.js';
import { SERVER_LOG, serviceLogs } from '../service-command.js';
import { serviceOf } from './service.js';
import type { AppContext } from './context.js';
import { recordStart, recordStop, waitAfter } from './crash-record.js';
import { readSettings } from '../settings/file.js';

/** The manager's files hold crashes only; longer than this, something crashes over and over. */
const CRASH_LOG_BYTES = 5e6;
const POLL_MS = 2_000;

export interface ServiceRun {
  log(line: string): void;
  /** Why the model is not being loaded yet; null when it is. */
  waiting(): string | null;
  /** Returns when loading makes sense. Rejects with the signal's reason. */
  ready(signal: AbortSignal): Promise<void>;
  /** After a stop that was asked for. */
  stopped(): Promise<void>;
}

/** `model`: the one named, null for that of the settings. ERR_LOCKED when another server of this home runs as the service. */
export async function runAsService(context: AppContext, model: string | null): Promise<ServiceRun> {
  const { home, host } = context;
  const folder = serviceLogs(home, host.homeDirectory, host.platform);
  const log = new RotatingLog(join(folder, SERVER_LOG));
  const write = (line: string): void => log.write(`${new Date(host.now()).toISOString()} ${line}`);
  const { stdoutPath, stderrPath } = serviceOf(context);
  for (const path of [stdoutPath, stderrPath]) await copyTruncate(path, CRASH_LOG_BYTES);
  const lock = await acquireLock(join(folder, 'server.lock')).catch((error: unknown) => {
    if (error instanceof FlashmoeError) write(`not started: ${error.message}`);
    throw error;
  });
  const record = join(folder, 'server-starts.json');
  let reason: string | null = null;
  const wait = async (why: string, isOver: () => Promise<boolean>, signal: AbortSignal) => {
    reason = why;
    write(why);
    while (!(await isOver())) await sleep(POLL_MS, undefined, { signal });
    reason = null;
  };
  return {
    log: write,
    waiting: () => reason,
    async ready(signal) {
      const crashes = (await recordStart(record, host.now())).length;
      const until = host.now() + waitAfter(crashes) * 1000;
      if (until > host.now()) {
        const at = new Date(until).toISOString().slice(11, 19);
        const why = `ended ${crashes} times within an hour without being asked to; loads again at ${at} UTC`;
        await wait(why, () => Promise.resolve(host.now() >= until), signal);
      }
      const missing = (): Promise<string | null> => missingPlace(home, model);
      const absent = await missing();
      if (absent !== null) {
        const why = `waiting for ${absent}, where the models are: it is not mounted`;
        await wait(why, async () => (await missing()) === null, signal);
        write(`${absent} is there`);
      }
    },
    async stopped() {
      await recordStop(record);
      await lock.release();
      log.close();
    },
  };
}

/** The volume of the home, or the one that the model to be served was moved to. */
async function missingPlace(home: HomePaths, named: string | null): Promise<string | null> {
  const absent = await absentVolume(home.models);
  if (absent !== null) return absent;
  const { model, quant } = await readSettings(home.settings);
  const wanted = named ?? model;
  if (wanted === undefined) return null;
  for (const id of new Set([wanted, installationId(wanted, quant ?? '4bit')])) {
    const place = await absentPlace(home, id);
    if (place !== null) return place;
  }
  return null;
}
