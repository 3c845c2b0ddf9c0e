import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { projectRoot } from './built-cli.js';
import { drip } from './hub/faults.js';
import { FaultHub } from './hub/fault-hub.js';

export const SLOW_REPO = 'acme/tiny';
/** Folder that a setup of SLOW_REPO writes to. */
export const SLOW_ID = 'acme--tiny';

const FOLDER = join(projectRoot, 'models/tiny');
const FIRST = join(FOLDER, 'model-00001-of-00003.safetensors');

/** The bundled model as somebody's repository on a line so slow that a run lasts some seconds. */
export async function startSlowHub(): Promise<FaultHub> {
  const hub = await FaultHub.start(FOLDER, SLOW_REPO);
  slowDown(hub);
  return hub;
}

/** The first shard comes at once, the others take two to three seconds each. `reset()` ends it. */
export function slowDown(hub: FaultHub): void {
  // Where the bytes are, files are called by their hash.
  const first = createHash('sha256').update(readFileSync(FIRST)).digest('hex');
  hub.rule({ on: 'cdn', path: new RegExp(`^(?!.*${first})`), fault: drip(65_536, 50) });
}
