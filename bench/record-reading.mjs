// Records what the bundled model makes of the passage of src/check/passage.ts, at every width: the table of
// src/check/known-readings.ts. `node bench/record-reading.mjs` after `make build`.

import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { addon } from './logits.mjs';
import { importSources } from '../tools/typescript.mjs';

const { packageRoot, PASSAGE, openEngine, packDirectory, contentSha256 } = await importSources(
  'check/passage',
  'engine/open-engine',
  'repack/pack-directory',
  'repack/verify',
  'base/package-root',
);

const root = await mkdtemp(join(tmpdir(), 'flashmoe-reading-'));
try {
  for (const quant of ['4bit', '2bit', 'mixed']) {
    const target = join(root, quant);
    const folder = join(packageRoot, 'models/tiny');
    const { plan, modelDir, expertsDir } = await packDirectory(folder, target, {
      ...{ addon, quant, threads: 2 },
    });
    const names = [
      plan.dense.file,
      ...plan.layers.map(({ file }) => `${basename(expertsDir)}/${file}`),
    ];
    const files = await Promise.all(
      names.map(async (path) => {
        const sha256 = createHash('sha256').update(await readFile(join(modelDir, path)));
        return { path, sha256: sha256.digest('hex') };
      }),
    );
    const places = { addon, id: 'tiny', modelDir, expertsDir, threads: 2, ioThreads: 2 };
    const engine = await openEngine({ ...places, backend: 'cpu' });
    const tokens = [
      ...(await engine.tokenize(`${PASSAGE}\n\n`)),
      ...(await engine.tokenize(PASSAGE)),
    ];
    const found = await engine.score(tokens, new AbortController().signal);
    await engine.close();
    console.log(`  // tiny, ${quant}`);
    console.log(
      `  '${contentSha256(files)}': [${found.map((value) => Number(value.toFixed(2))).join(', ')}],`,
    );
  }
} finally {
  await rm(root, { recursive: true });
}
