// What weighing errors by activations is worth: the bundled model at two bits, plain and weighed by a calibration on one
// half of its conversations, compared with the model as published on an eighth of the others. `node bench/calibration.mjs` after
// `make build`.

import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { addon, distance, logitsOf, openPacked } from './logits.mjs';
import { importSources } from '../tools/typescript.mjs';

const {
  packageRoot,
  observeTexts,
  loadChatTemplate,
  loadTokenizer,
  calibrationBytes,
  packDirectory,
} = await importSources(
  'engine/calibrate',
  'engine/chat-template',
  'engine/tokenizer',
  'repack/calibration',
  'repack/pack-directory',
  'base/package-root',
);

const root = await mkdtemp(join(tmpdir(), 'flashmoe-calibration-'));
const source = join(packageRoot, 'models', 'tiny');
let packs = 0;

try {
  const conversations = await tokenised();
  const seen = conversations.filter((_, i) => i % 2 === 0);
  const heldOut = conversations.filter((_, i) => i % 16 === 1);
  const published = await pack('4bit', {});
  const truth = await logitsOf(published, heldOut);
  console.log('| tokens of calibration | logit error | KL, nats |');
  console.log('| --- | --- | --- |');
  const show = async (name, packed) => {
    const { error, divergence } = distance(truth, await logitsOf(packed, heldOut));
    console.log(`| ${name} | ${error.toFixed(4)} | ${divergence.toFixed(5)} |`);
  };
  await show('none', await pack('2bit', {}));
  for (const mostTokens of [1_024, 4_096, 16_384]) {
    const calibration = join(root, `${mostTokens}.safetensors`);
    await writeFile(calibration, await observe(published, seen, mostTokens));
    await show(mostTokens, await pack('2bit', { calibration }));
  }
} finally {
  await rm(root, { recursive: true, force: true });
}

/** Each skill's conversations with their right answers, skills in turn. */
async function tokenised() {
  const tokenizer = await loadTokenizer(source);
  const template = await loadChatTemplate(source, tokenizer);
  const folder = join(packageRoot, 'models', 'tiny-eval');
  const skills = await Promise.all(
    (await readdir(folder))
      .filter((name) => name.endsWith('.jsonl'))
      .sort()
      .map(async (name) => {
        const lines = (await readFile(join(folder, name), 'utf8')).trim().split('\n');
        return lines.map((line) => JSON.parse(line));
      }),
  );
  const most = Math.max(...skills.map(({ length }) => length));
  const turns = Array.from({ length: most }, (_, i) =>
    skills.flatMap((records) => records[i] ?? []),
  );
  return turns
    .flat()
    .map(({ messages, tools = [], expect }) => [
      ...template.prompt({ messages, tools, thinking: null }).ids,
      ...tokenizer.encodeText(expect.text ?? ''),
    ]);
}

function pack(quant, options) {
  return packDirectory(source, join(root, String((packs += 1))), {
    addon,
    quant,
    threads: 2,
    ...options,
  });
}

async function observe(packed, conversations, mostTokens) {
  const native = await openPacked(packed);
  const { signal } = new AbortController();
  const texts = [conversations.flat()];
  const { layers, tokens } = await observeTexts({
    native,
    texts,
    mostTokens,
    signal,
    onProgress: () => undefined,
  });
  native.close();
  return calibrationBytes(layers, { repo: 'local/folder', commit: 'local', tokens });
}
