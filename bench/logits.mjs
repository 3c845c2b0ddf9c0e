// The logits of a packed model, and how far they are from those of another.

import { join } from 'node:path';
import { importSources } from '../tools/typescript.mjs';

const { loadAddon, packageRoot, runJob } = await importSources('addon/load', 'base/package-root');

export const { addon } = loadAddon([join(packageRoot, 'build/Release/flashmoe.node')]);

export function openPacked({ modelDir, expertsDir }) {
  return runJob(
    addon.openEngine({
      ...{ modelDir, expertsDir, threads: 2, ioThreads: 2, tokenLimit: 0, expertsPerToken: 0 },
      ...{ backend: 'cpu', kernelsDir: join(packageRoot, 'metal') },
    }),
  );
}

/** One row a position, sequence after sequence. */
export async function logitsOf(packed, sequences) {
  const engine = await openPacked(packed);
  const rows = [];
  for (const tokens of sequences) {
    const session = engine.createSession(tokens.length);
    const { logits } = await runJob(session.evaluate(Int32Array.from(tokens), false));
    const width = logits.length / tokens.length;
    for (let i = 0; i < tokens.length; i++) rows.push(logits.subarray(i * width, (i + 1) * width));
    session.close();
  }
  engine.close();
  return rows;
}

/** Root mean square of the difference over the logits' deviation, and KL of the softmax, both over all positions. */
export function distance(truth, rows) {
  let [squares, deviation, divergence] = [0, 0, 0];
  truth.forEach((wanted, at) => {
    const got = rows[at];
    const mean = wanted.reduce((sum, value) => sum + value, 0) / wanted.length;
    const [p, q] = [logSoftmax(wanted), logSoftmax(got)];
    wanted.forEach((value, i) => {
      squares += (value - got[i]) ** 2;
      deviation += (value - mean) ** 2;
      divergence += Math.exp(p[i]) * (p[i] - q[i]);
    });
  });
  return { error: Math.sqrt(squares / deviation), divergence: divergence / truth.length };
}

function logSoftmax(logits) {
  const top = logits.reduce((most, value) => Math.max(most, value), -Infinity);
  const norm = top + Math.log(logits.reduce((sum, value) => sum + Math.exp(value - top), 0));
  return Array.from(logits, (value) => value - norm);
}
