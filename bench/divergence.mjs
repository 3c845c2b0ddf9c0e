// What faster arithmetic and fewer experts cost: a packed model's distributions over a text, against the exact ones with
// all experts. Prints a table in markdown: Kullback-Leibler divergence in nats a token, how often the likeliest token is the
// same, and experts computed for a token in a layer.
//
//   node bench/divergence.mjs MODEL_FOLDER TEXT_FILE... [--tokens 1536]
import { readFileSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { importSources } from '../tools/typescript.mjs';

const { loadTokenizer } = await importSources('engine/tokenizer');

/** Tokens that are one conversation. */
const PIECE = 256;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { tokens: { type: 'string', default: '1536' } },
});
const [modelDir, ...files] = positionals;
if (modelDir === undefined || files.length === 0) {
  console.error('usage: node bench/divergence.mjs MODEL_FOLDER TEXT_FILE... [--tokens 1536]');
  process.exit(64);
}
const addon = createRequire(import.meta.url)('../build/Release/flashmoe.node');
const expertsDir = join(
  modelDir,
  readdirSync(modelDir).find((name) => name.startsWith('packed_experts')),
);
const tokenizer = await loadTokenizer(modelDir);
const text = files.map((file) => readFileSync(file, 'utf8')).join('\n');
const ids = Int32Array.from(tokenizer.encodeText(text)).slice(0, Number(values.tokens));

async function compute(options) {
  const engine = await addon.openEngine({
    ...{ modelDir, expertsDir, kernelsDir: 'metal', backend: 'cpu', threads: 2, ioThreads: 4 },
    ...{ tokenLimit: tokenizer.tokenLimit, expertsPerToken: 0 },
    ...options,
  }).done;
  const { vocabSize, expertsPerToken } = engine.info();
  const logits = [];
  for (let at = 0; at + PIECE <= ids.length; at += PIECE) {
    const session = engine.createSession(PIECE);
    logits.push((await session.evaluate(ids.slice(at, at + PIECE), false).done).logits);
    session.close();
  }
  const session = engine.createSession(PIECE);
  let uses = 0;
  for (const id of ids.slice(0, 64)) uses += (await session.decode(id).done).expertUses;
  session.close();
  engine.close();
  return { logits, vocabSize, expertsPerToken, uses };
}

function logSum(values) {
  const most = values.reduce((a, b) => Math.max(a, b), -Infinity);
  return most + Math.log(values.reduce((sum, value) => sum + Math.exp(value - most), 0));
}

function compare(exact, other) {
  let [divergence, same, count] = [0, 0, 0];
  exact.logits.forEach((piece, index) => {
    for (let at = 0; at < piece.length; at += exact.vocabSize) {
      const [p, q] = [piece, other.logits[index]].map((all) =>
        all.subarray(at, at + exact.vocabSize),
      );
      const shift = logSum(q) - logSum(p);
      const total = logSum(p);
      p.forEach((value, id) => {
        divergence += Math.exp(value - total) * (value - q[id] + shift);
      });
      same += p.indexOf(Math.max(...p)) === q.indexOf(Math.max(...q)) ? 1 : 0;
      count += 1;
    }
  });
  return { divergence: divergence / count, same: same / count };
}

const exact = await compute({});
const cases = [
  ['fast', { arithmetic: 'fast' }],
  ...[0.95, 0.85, 0.7].map((expertMass) => [`share ${expertMass}`, { expertMass }]),
  ...Array.from({ length: exact.expertsPerToken - 1 }, (_, index) => {
    const expertsPerToken = exact.expertsPerToken - 1 - index;
    return [`${expertsPerToken} experts`, { expertsPerToken }];
  }),
];
console.log('| way | KL | same likeliest | experts of a token |\n| --- | --- | --- | --- |');
for (const [name, options] of cases) {
  const other = await compute(options);
  const { divergence, same } = compare(exact, other);
  const experts = (exact.expertsPerToken * other.uses) / exact.uses;
  console.log(
    `| ${name} | ${divergence.toFixed(4)} | ${(100 * same).toFixed(1)} % | ${experts.toFixed(2)} |`,
  );
}
