import type { Check } from './check.js';
import { disk } from './checks/disk.js';
import { engine } from './checks/engine.js';
import { endpoint, token } from './checks/hub.js';
import { chip, memory, node } from './checks/machine.js';
import { models } from './checks/models.js';
import { server } from './checks/server.js';
import { definition, state } from './checks/service.js';
import { toolchain } from './checks/toolchain.js';

/** All checks, in the order in which their findings are shown. */
export const CHECKS: readonly Check[] = [
  chip,
  memory,
  node,
  disk,
  engine,
  toolchain,
  models,
  definition,
  state,
  server,
  token,
  endpoint,
];
