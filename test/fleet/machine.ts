// One machine of a fleet: a real server in a process of its own, with an engine that takes its time and says
// which machine it is. Prints its port. Arguments: name, model, milliseconds that loading takes, milliseconds without a
// request after which the model goes.

import { serve } from '../../src/server/serve.js';
import { finish, MemoryEngine, said } from '../server/memory-engine.js';

const [name = '', modelId = 'org/test-model', loadMs = '0', unloadAfterMs] = process.argv.slice(2);

const engine = new MemoryEngine(async function* () {
  await new Promise((resolve) => setTimeout(resolve, 100));
  yield said(name);
  yield finish();
});
const server = await serve({
  port: 0,
  modelId,
  installed: () => Promise.resolve([{ id: modelId, quant: '4bit', bytes: 1, since: 0 }]),
  load: async () => {
    await new Promise((resolve) => setTimeout(resolve, Number(loadMs)));
    return engine;
  },
  ...(unloadAfterMs === undefined ? {} : { unloadAfterMs: Number(unloadAfterMs) }),
  version: '1.2.3',
  now: Date.now,
  emit: () => undefined,
});
await server.modelSettled;
console.log(server.port);
