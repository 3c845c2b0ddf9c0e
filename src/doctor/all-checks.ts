import type { Check } from './check.js';
import { answers } from './checks/answers.js';
import { disk } from './checks/disk.js';
import { engine } from './checks/engine.js';
import { gpu } from './checks/gpu.js';
import { network } from './checks/network.js';
import { endpoint, token } from './checks/hub.js';
import { chip, memory, node } from './checks/machine.js';
import { models } from './checks/models.js';
import { os } from './checks/os.js';
import { power } from './checks/power.js';
import { pressure } from './checks/pressure.js';
import { proxy } from './checks/proxy.js';
import { readRate } from './checks/read-rate.js';
import { selfTest } from './checks/self-test.js';
import { server } from './checks/server.js';
import { definition, state } from './checks/service.js';
import { crashLog, twins } from './checks/conflicting-services.js';
import { settings } from './checks/settings.js';
import { timeMachine } from './checks/time-machine.js';
import { tokenValid } from './checks/token.js';
import { toolchain } from './checks/toolchain.js';
import { volume } from './checks/volume.js';

/** All checks, in the order in which their findings are shown. */
export const CHECKS: readonly Check[] = [
  chip,
  os,
  memory,
  pressure,
  node,
  power,
  disk,
  volume,
  readRate,
  timeMachine,
  engine,
  gpu,
  toolchain,
  models,
  answers,
  settings,
  definition,
  state,
  twins,
  crashLog,
  server,
  token,
  tokenValid,
  endpoint,
  network,
  proxy,
];

/** What `--self-test` runs instead: the kernels' own test, then every operation. */
export const SELF_TEST: readonly Check[] = [engine, selfTest];
