// Runs llama.cpp (node-llama-cpp's prebuilt CPU library) over a GGUF file and prints one line of JSON.
// Usage: node peer.mjs MODEL.gguf '{"prompt":512,"decode":64,"threads":2,"decodeSeconds":60}'
import { getLlama, LlamaLogLevel } from 'node-llama-cpp';
import { report, tokens } from './prompt.mjs';
import { diskBytes, peakResident } from './process-facts.mjs';

const [path, json] = process.argv.slice(2);
const { prompt, decode, threads, decodeSeconds } = JSON.parse(json);

const llama = await getLlama({
  gpu: false,
  build: 'never',
  maxThreads: threads,
  logLevel: LlamaLogLevel.error,
});
const model = await llama.loadModel({ modelPath: path });
const context = await model.createContext({
  contextSize: prompt + decode + 16,
  batchSize: 512,
  threads,
});
const sequence = context.getSequence();
const ids = tokens(prompt + decode);

let start = performance.now();
const elapsed = () => (performance.now() - start) / 1000;
await sequence.evaluateWithoutGeneratingNewTokens(ids.slice(0, prompt));
const facts = { prefillRate: prompt / elapsed(), prefillDiskBytes: diskBytes() };
report(facts);

start = performance.now();
let produced = 0;
while (produced < decode && elapsed() < decodeSeconds) {
  const next = { token: true, options: { temperature: 0 } };
  await sequence.controlledEvaluate([[ids[prompt + produced++], { generateNext: next }]]);
}
report({
  ...facts,
  decodeRate: produced / elapsed(),
  decoded: produced,
  decodeDiskBytes: (diskBytes() - facts.prefillDiskBytes) / produced,
  peakResident: peakResident(),
});
process.exit(0);
