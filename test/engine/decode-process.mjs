// A process that opens a packed model, reads a prompt and decodes, then says what the kernel counted for it.
// Usage: node decode-process.mjs MODEL EXPERTS '{"prompt": 64, "decode": 200}'
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';

const [modelDir, expertsDir, json] = process.argv.slice(2);
const { prompt, decode } = JSON.parse(json);
const packageRoot = resolve(import.meta.dirname, '..', '..');
// Without anything of ours in TypeScript, which would take memory of its own.
const addon = createRequire(import.meta.url)(join(packageRoot, 'build/Release/flashmoe.node'));
const kernelsDir = join(packageRoot, 'metal');
const rest = { threads: 2, ioThreads: 4, expertsPerToken: 0, backend: 'cpu', kernelsDir };
const engine = await addon.openEngine({ modelDir, expertsDir, tokenLimit: 512, ...rest }).done;
const session = engine.createSession(prompt + decode);
// 73 and 512 have no common divisor: every token of the vocabulary comes in turn, so that routers see all of them.
const token = (i) => (i * 73) % 512;
await session.prefill(
  Int32Array.from({ length: prompt }, (_, i) => token(i)),
  () => undefined,
).done;
let read = 0;
for (let i = 0; i < decode; i++)
  read += (await session.decode(token(prompt + i)).done).expertBytesRead;

const status = readFileSync('/proc/self/status', 'utf8');
const peakBytes = 1024 * Number(/^VmHWM:\s+(\d+) kB/m.exec(status)?.[1]);
console.log(JSON.stringify({ ...engine.info(), context: prompt + decode, read, peakBytes }));
