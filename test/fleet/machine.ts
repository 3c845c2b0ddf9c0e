// One machine of a fleet: a real server in a process of its own, with an engine that takes its time and says
// which machine it is. Prints its port.

import { serve } from '../../src/server/serve.js';
import { finish, MemoryEngine, said } from '../server/memory-engine.js';

const [name = ''] = process.argv.slice(2);

const engine = new MemoryEngine(async function* () {
  await new Promise((resolve) => setTimeout(resolve, 100));
  yield said(name);
  yield finish();
});
const server = await serve({
  port: 0,
  modelId: 'org/test-model',
  load: () => Promise.resolve(engine),
  version: '1.2.3',
  now: Date.now,
  emit: () => undefined,
});
await server.modelSettled;
console.log(server.port);
