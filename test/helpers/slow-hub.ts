import { join } from 'node:path';
import { projectRoot } from './built-cli.js';
import { drip } from './hub/faults.js';
import { FaultHub } from './hub/fault-hub.js';

export const SLOW_REPO = 'acme/tiny';
/** Folder that a setup of SLOW_REPO writes to. */
export const SLOW_ID = 'acme--tiny';

/** The bundled model as somebody's repository on a line so slow that a run lasts some seconds. */
export async function startSlowHub(): Promise<FaultHub> {
  const hub = await FaultHub.start(join(projectRoot, 'models/tiny'), SLOW_REPO);
  slowDown(hub);
  return hub;
}

/** Headers are small and come at once; a shard takes two to three seconds. `reset()` ends it. */
export function slowDown(hub: FaultHub): void {
  hub.rule({ on: 'cdn', fault: drip(65_536, 50) });
}
