// Runs llama.cpp (node-llama-cpp's prebuilt CPU library) over a GGUF file and prints one line of JSON.
// Usage: node peer.mjs MODEL.gguf '{"prompt":512,"decode":64,"threads":2}'
import { getLlama, LlamaLogLevel } from 'node-llama-cpp';
import { prompt as promptTokens } from './prompt.mjs';
import { diskBytes, peakResident } from './process-facts.mjs';

const [path, json] = process.argv.slice(2);
const { prompt, decode, threads } = JSON.parse(json);

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
const tokens = promptTokens(prompt);

let start = performance.now();
await sequence.evaluateWithoutGeneratingNewTokens(tokens.slice(0, -1));
const prefillSeconds = (performance.now() - start) / 1000;
const prefillDisk = diskBytes();

start = performance.now();
let produced = 0;
for await (const token of sequence.evaluate([tokens.at(-1)], {
  temperature: 0,
  yieldEogToken: true,
})) {
  if (token !== undefined && ++produced >= decode) break;
}
const decodeSeconds = (performance.now() - start) / 1000;

console.log(
  JSON.stringify({
    prefillRate: (prompt - 1) / prefillSeconds,
    decodeRate: produced / decodeSeconds,
    prefillDiskBytes: prefillDisk,
    decodeDiskBytes: diskBytes() - prefillDisk,
    peakResident: peakResident(),
  }),
);
process.exit(0);
