// Runs flashmoe's engine over a packed model and prints one line of JSON, as peer.mjs does for llama.cpp.
// Usage: node ours.mjs PACKED_DIR '{"prompt":512,"decode":64,"threads":2}'
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageAddon } from './addon.mjs';
import { prompt as promptTokens } from './prompt.mjs';
import { diskBytes, peakResident } from './process-facts.mjs';

const [folder, json] = process.argv.slice(2);
const { prompt, decode, threads } = JSON.parse(json);

const addon = packageAddon();
const engine = await addon.openEngine({
  modelDir: folder,
  expertsDir: join(folder, 'packed_experts'),
  threads,
  ioThreads: 4,
  tokenLimit: JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8')).vocab_size,
  expertsPerToken: 0,
  backend: 'cpu',
  kernelsDir: join(folder, 'metal'),
}).done;
const session = engine.createSession(prompt + decode + 16);
const greedy = { temperature: 0, topP: 1, topK: 0, minP: 0, allowed: null, bias: null };

const prefill = await session.prefill(Int32Array.from(promptTokens(prompt)), () => undefined).done;
const prefillDisk = diskBytes();
const start = performance.now();
let expertBytes = 0;
let ioSeconds = 0;
for (let produced = 0; produced < decode; produced++) {
  const stats = await session.decode(session.sample(greedy)).done;
  expertBytes += stats.expertBytesRead;
  ioSeconds += stats.ioSeconds;
}
const decodeSeconds = (performance.now() - start) / 1000;
console.log(
  JSON.stringify({
    prefillRate: prompt / prefill.seconds,
    decodeRate: decode / decodeSeconds,
    prefillExpertBytes: prefill.expertBytesRead,
    decodeExpertBytes: expertBytes / decode,
    decodeWaitShare: ioSeconds / decodeSeconds,
    prefillDiskBytes: prefillDisk,
    decodeDiskBytes: diskBytes() - prefillDisk,
    peakResident: peakResident(),
    info: engine.info(),
  }),
);
