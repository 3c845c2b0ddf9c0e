// Runs flashmoe's engine over a packed model and prints one line of JSON, as peer.mjs does for llama.cpp.
// As a server would: experts stay by the memory plan, of the machine's memory or of a limit on it.
// Usage: node ours.mjs PACKED_DIR '{"prompt":512,"decode":64,"threads":2,"decodeSeconds":60,"memoryBytes":null,"arithmetic":"fast"}'
import { readFileSync } from 'node:fs';
import { totalmem } from 'node:os';
import { join } from 'node:path';
import { importSources } from '../tools/typescript.mjs';
import { packageAddon } from './addon.mjs';
import { report, tokens } from './prompt.mjs';
import { anonymous, diskBytes, peakResident } from './process-facts.mjs';

const { passTokens, planMemory } = await importSources('models/memory-plan');

const [folder, json] = process.argv.slice(2);
const { prompt, decode, threads, decodeSeconds, ...ways } = JSON.parse(json);
const { directReads = false, memoryBytes = null, arithmetic = 'fast' } = ways;
const machine = {
  memoryBytes: memoryBytes ?? totalmem(),
  availableBytes: null,
  workingSetBytes: null,
};

const addon = packageAddon();
const engine = await addon.openEngine({
  modelDir: folder,
  expertsDir: join(folder, 'packed_experts'),
  threads,
  ioThreads: 4,
  tokenLimit: JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8')).vocab_size,
  expertsPerToken: 0,
  directReads,
  arithmetic,
  prefillTokens: passTokens(machine),
  backend: 'cpu',
  kernelsDir: join(folder, 'metal'),
}).done;
const plan = planMemory(engine.info(), machine, { contextLength: prompt + decode + 16 });
await engine.resizeExperts(plan.mode === 'resident' ? Infinity : plan.expertBytes).done;
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
let [expertBytes, readBytes] = [0, 0];
let ioSeconds = 0;
let [uses, hits, waits] = [0, 0, 0];
let produced = 0;
while (produced < decode && elapsed() < decodeSeconds) {
  session.sample(greedy);
  const stats = await session.decode(ids[prompt + produced++]).done;
  expertBytes += stats.expertBytesUsed;
  readBytes += stats.expertBytesRead;
  ioSeconds += stats.ioSeconds;
  uses += stats.expertUses;
  hits += stats.expertHits;
  waits += stats.expertWaits;
}
const seconds = elapsed();
report({
  ...facts,
  decodeRate: produced / seconds,
  decoded: produced,
  decodeExpertBytes: expertBytes / produced,
  decodeReadBytes: readBytes / produced,
  decodeWaitShare: ioSeconds / seconds,
  decodeDiskBytes: (diskBytes() - prefillDisk) / produced,
  decodeHits: hits / uses,
  decodeWaits: waits / produced,
  anonymous: anonymous(),
  planned: plan.budgetBytes,
  mode: plan.mode,
  peakResident: peakResident(),
  info: engine.info(),
});
