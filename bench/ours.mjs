// Runs flashmoe's engine over a packed model and prints one line of JSON, as peer.mjs does for llama.cpp.
// Usage: node ours.mjs PACKED_DIR '{"prompt":512,"decode":64,"threads":2,"decodeSeconds":60,"directReads":false}'
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageAddon } from './addon.mjs';
import { report, tokens } from './prompt.mjs';
import { diskBytes, peakResident } from './process-facts.mjs';

const [folder, json] = process.argv.slice(2);
const { prompt, decode, threads, decodeSeconds, directReads = false } = JSON.parse(json);

const addon = packageAddon();
const engine = await addon.openEngine({
  modelDir: folder,
  expertsDir: join(folder, 'packed_experts'),
  threads,
  ioThreads: 4,
  tokenLimit: JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8')).vocab_size,
  expertsPerToken: 0,
  directReads,
  backend: 'cpu',
  kernelsDir: join(folder, 'metal'),
}).done;
const session = engine.createSession(prompt + decode + 16);
const greedy = { temperature: 0, topP: 1, topK: 0, minP: 0, allowed: null, bias: null };

const ids = tokens(prompt + decode);
const prefill = await session.prefill(Int32Array.from(ids.slice(0, prompt)), () => undefined).done;
const prefillDisk = diskBytes();
const facts = {
  prefillRate: prompt / prefill.seconds,
  prefillExpertBytes: prefill.expertBytesRead,
  prefillDiskBytes: prefillDisk,
};
report(facts);
const start = performance.now();
const elapsed = () => (performance.now() - start) / 1000;
let expertBytes = 0;
let ioSeconds = 0;
let produced = 0;
while (produced < decode && elapsed() < decodeSeconds) {
  session.sample(greedy);
  const stats = await session.decode(ids[prompt + produced++]).done;
  expertBytes += stats.expertBytesRead;
  ioSeconds += stats.ioSeconds;
}
const seconds = elapsed();
report({
  ...facts,
  decodeRate: produced / seconds,
  decoded: produced,
  decodeExpertBytes: expertBytes / produced,
  decodeWaitShare: ioSeconds / seconds,
  decodeDiskBytes: (diskBytes() - prefillDisk) / produced,
  peakResident: peakResident(),
  info: engine.info(),
});
