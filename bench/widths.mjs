// What each width costs in bytes and in error: the bundled model's experts at two and three bits in groups of 64, as they are
// published, and of 32, and at 4 bits, against the model as published. The same conversations as in bench/tiers.mjs.
// `node bench/widths.mjs` after `make build`.

import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { addon, distance, logitsOf } from './logits.mjs';
import { importSources } from '../tools/typescript.mjs';

const { loadChatTemplate, loadTokenizer, packDirectory, packageRoot, parseRecords } =
  await importSources(
    'base/package-root',
    'engine/chat-template',
    'engine/tokenizer',
    'eval/records',
    'repack/pack-directory',
  );

const root = await mkdtemp(join(tmpdir(), 'flashmoe-widths-'));
const published = join(packageRoot, 'models', 'tiny');

try {
  const halved = join(root, 'halved');
  await halveGroups(published, halved);
  const conversations = await heldOut();
  const pack = (quant, source) =>
    packDirectory(source, join(root, `${quant}-${source === halved ? 32 : 64}`), {
      ...{ addon, quant, threads: 2 },
    });
  const whole = await pack('4bit', published);
  const truth = await logitsOf(whole, conversations);
  console.log('| bits | group | bits a weight | bytes of experts | logit error | KL, nats |');
  console.log('| --- | --- | --- | --- | --- | --- |');
  for (const [quant, group] of [
    ['2bit', 64],
    ['2bit', 32],
    ['3bit', 64],
    ['3bit', 32],
    ['4bit', 64],
  ]) {
    const packed = await pack(quant, group === 32 ? halved : published);
    const { error, divergence } = distance(truth, await logitsOf(packed, conversations));
    const bits = Number(quant[0]);
    const cells = [
      ...[bits, group, (bits + 32 / group).toFixed(2)],
      expertBytes(packed.plan).toLocaleString('en-US'),
      ...[error.toFixed(4), divergence.toFixed(5)],
    ];
    console.log(`| ${cells.join(' | ')} |`);
  }
} finally {
  await rm(root, { recursive: true, force: true });
}

/** Without what fills an expert up to a page: of the bundled model's small ones that would hide the widths. */
function expertBytes({ layers, layouts }) {
  return layers.reduce(
    (sum, { layout, experts }) => sum + experts * (layouts[layout]?.expert_size ?? 0),
    0,
  );
}

/** The same weights with the parameters of each group of 64 written twice, for its halves. */
async function halveGroups(from, to) {
  await mkdir(to);
  for (const name of await readdir(from)) {
    if (!name.endsWith('.safetensors')) await copyFile(join(from, name), join(to, name));
    else await writeFile(join(to, name), halvedShard(await readFile(join(from, name))));
  }
}

function halvedShard(file) {
  const length = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString('utf8', 8, 8 + length));
  const bodies = [];
  let end = 0;
  const tensors = Object.entries(header).filter(([name]) => name !== '__metadata__');
  tensors.sort(([, a], [, b]) => a.data_offsets[0] - b.data_offsets[0]);
  for (const [name, tensor] of tensors) {
    const [start, stop] = tensor.data_offsets.map((offset) => 8 + length + offset);
    const isGroups = /switch_mlp\.\w+\.(scales|biases)$/.test(name);
    const bytes = file.subarray(start, stop);
    const body = isGroups ? doubled(bytes, (stop - start) / elements(tensor.shape)) : bytes;
    if (isGroups) tensor.shape = [...tensor.shape.slice(0, -1), 2 * tensor.shape.at(-1)];
    tensor.data_offsets = [end, end + body.length];
    end += body.length;
    bodies.push(body);
  }
  const text = Buffer.from(JSON.stringify(header));
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([size, text, ...bodies]);
}

function elements(shape) {
  return shape.reduce((product, each) => product * each, 1);
}

function doubled(bytes, width) {
  const to = Buffer.alloc(2 * bytes.length);
  for (let at = 0; at < bytes.length; at += width) {
    bytes.copy(to, 2 * at, at, at + width);
    bytes.copy(to, 2 * at + width, at, at + width);
  }
  return to;
}

/** Every sixteenth conversation with its right answer, as prompts. */
async function heldOut() {
  const tokenizer = await loadTokenizer(published);
  const template = await loadChatTemplate(published, tokenizer);
  const folder = join(packageRoot, 'models', 'tiny-eval');
  const names = (await readdir(folder)).filter((name) => name.endsWith('.jsonl')).sort();
  const skills = await Promise.all(
    names.map(async (name) => parseRecords(name, await readFile(join(folder, name), 'utf8'))),
  );
  return skills
    .flatMap((records) => records.filter((_, i) => i % 16 === 1))
    .map(({ messages, tools = [], expect }) => [
      ...template.prompt({ messages, tools, thinking: null }).ids,
      ...tokenizer.encodeText(expect.text ?? ''),
    ]);
}
