// In how many bytes what is best: the bundled model tiered, mixed and at two bits, all weighed by a calibration on one half of
// its conversations, against the model as published on an eighth of the others, by logits and by right answers.
// `node bench/tiers.mjs` after `make build`.

import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { addon, distance, logitsOf, openPacked } from './logits.mjs';
import { importSources } from '../tools/typescript.mjs';

const {
  packageRoot,
  observeTexts,
  loadChatTemplate,
  loadTokenizer,
  calibrationBytes,
  packDirectory,
  parseRecords,
  evaluate,
  openEngine,
} = await importSources(
  'engine/calibrate',
  'engine/chat-template',
  'engine/open-engine',
  'engine/tokenizer',
  'eval/records',
  'eval/run',
  'repack/calibration',
  'repack/pack-directory',
  'base/package-root',
);

const root = await mkdtemp(join(tmpdir(), 'flashmoe-tiers-'));
const source = join(packageRoot, 'models', 'tiny');
const { signal } = new AbortController();
const CALIBRATION_TOKENS = 16_384;
let packs = 0;

try {
  const skills = await readSkills();
  const conversations = await tokenised(skills);
  const seen = conversations.filter((_, i) => i % 2 === 0);
  const heldOut = conversations.filter((_, i) => i % 16 === 1);
  const asked = new Map(
    [...skills].map(([name, all]) => [name, all.filter((_, i) => i % 16 === 1)]),
  );
  const published = await pack('4bit', {});
  const truth = await logitsOf(published, heldOut);
  const calibration = join(root, 'calibration.safetensors');
  await writeFile(calibration, await observe(published, seen));
  console.log('| experts | bytes | logit error | KL, nats | right answers |');
  console.log('| --- | --- | --- | --- | --- |');
  const show = async (name, packed) => {
    const { error, divergence } = distance(truth, await logitsOf(packed, heldOut));
    const bytes = packed.plan.finalBytes.toLocaleString('en-US');
    const cells = [
      name,
      bytes,
      error.toFixed(4),
      divergence.toFixed(5),
      await answers(packed, asked),
    ];
    console.log(`| ${cells.join(' | ')} |`);
  };
  const narrow = await pack('2bit', { calibration });
  await show('2bit', narrow);
  const wide = published.plan.finalBytes;
  const share = (part) =>
    Math.round(narrow.plan.finalBytes + part * (wide - narrow.plan.finalBytes));
  for (const size of [share(0.15), share(0.6)]) {
    await show('mixed', await pack('mixed', { calibration, size }));
    await show('tiered', await pack('tiered', { calibration, size }));
  }
  await show('4bit', published);
} finally {
  await rm(root, { recursive: true, force: true });
}

async function readSkills() {
  const folder = join(packageRoot, 'models', 'tiny-eval');
  const names = (await readdir(folder)).filter((name) => name.endsWith('.jsonl')).sort();
  const read = async (name) => {
    const file = join(folder, name);
    return [basename(name, '.jsonl'), parseRecords(file, await readFile(file, 'utf8'))];
  };
  return new Map(await Promise.all(names.map(read)));
}

/** Each skill's conversations with their right answers, skills in turn. */
async function tokenised(skills) {
  const tokenizer = await loadTokenizer(source);
  const template = await loadChatTemplate(source, tokenizer);
  const most = Math.max(...[...skills.values()].map(({ length }) => length));
  const turns = Array.from({ length: most }, (_, i) =>
    [...skills.values()].flatMap((records) => records[i] ?? []),
  );
  return turns
    .flat()
    .map(({ messages, tools = [], expect }) => [
      ...template.prompt({ messages, tools, thinking: null }).ids,
      ...tokenizer.encodeText(expect.text ?? ''),
    ]);
}

function pack(quant, options) {
  const to = join(root, String((packs += 1)));
  return packDirectory(source, to, { addon, quant, threads: 2, ...options });
}

async function observe(packed, conversations) {
  const native = await openPacked(packed);
  const { layers, tokens } = await observeTexts({
    ...{ native, texts: [conversations.flat()], mostTokens: CALIBRATION_TOKENS, signal },
    onProgress: () => undefined,
  });
  native.close();
  return calibrationBytes(layers, { repo: 'local/folder', commit: 'local', tokens });
}

async function answers({ modelDir, expertsDir }, skills) {
  const to = { addon, id: 'tiny', modelDir, expertsDir, threads: 2, ioThreads: 2, signal };
  const engine = await openEngine(to);
  try {
    const report = await evaluate({ engine, skills, signal, onAnswer: () => undefined });
    const sum = (of) => report.skills.reduce((total, skill) => total + of(skill), 0);
    return `${sum(({ right }) => right)} of ${sum(({ asked }) => asked)}`;
  } finally {
    await engine.close();
  }
}
