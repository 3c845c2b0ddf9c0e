// Serves a packed model on a free port until its stdin ends: `serve-packed.ts MODEL_DIR EXPERTS_DIR
// [STATES_DIR]`. The first line of stdout is the URL.

import { openEngine } from '../../../src/engine/open-engine.js';
import { serve } from '../../../src/server/serve.js';
import { testAddon } from '../../repack/fixtures.js';

const [modelDir = '', expertsDir = '', root] = process.argv.slice(2);
const states = root !== undefined && {
  root,
  maxBytes: 1e9,
  version: '1.2.3',
  now: Date.now,
  notice: (error: Error) => process.stderr.write(`${error.message}\n`),
};
const server = await serve({
  port: 0,
  modelId: 'org/model',
  load: () =>
    openEngine({
      addon: testAddon(),
      id: 'org/model',
      modelDir,
      expertsDir,
      threads: 1,
      ioThreads: 2,
      ...(states && { states }),
    }),
  version: '1.2.3',
  now: Date.now,
  emit: () => undefined,
});
await server.modelSettled;
process.stdout.write(`${server.url}\n`);
process.stdin.resume().on('end', () => void server.close(0));
