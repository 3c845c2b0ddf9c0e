// Which projection of the experts suffers most from two bits: one projection at a time is made narrow, or kept, and
// the logits are compared with those of the model as published. `node bench/sensitivity.mjs` after `make build`.

import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { addon, distance, logitsOf } from './logits.mjs';
import { importSources } from '../tools/typescript.mjs';

const { packageRoot, packDirectory } = await importSources(
  'repack/pack-directory',
  'base/package-root',
);

const PROJECTIONS = ['gate_proj', 'up_proj', 'down_proj'];
const PAGE = 16_384;
const fixtures = ['qwen3_5_moe', 'qwen3_moe', 'deepseek_v3', 'kimi_k2'];
const root = await mkdtemp(join(tmpdir(), 'flashmoe-sensitivity-'));

try {
  console.log('| model | experts | narrow | logit error | KL, nats |');
  console.log('| --- | --- | --- | --- | --- |');
  for (const [name, folder, sequences] of await models()) await measure(name, folder, sequences);
} finally {
  await rm(root, { recursive: true, force: true });
}

/** Name, folder, token sequences: of the bundled model its known answers, of a fixture the golden run's input. */
async function models() {
  const smoke = join(packageRoot, 'models/tiny-eval/smoke.json');
  const { prompts } = JSON.parse(await readFile(smoke, 'utf8'));
  const tiny = prompts.map((each) => [...each.prompt_ids, ...each.completion_ids]);
  const list = [['tiny', join(packageRoot, 'models', 'tiny'), tiny]];
  for (const name of fixtures) {
    const folder = join(packageRoot, 'test', 'fixtures', name);
    const { input_ids, greedy } = JSON.parse(await readFile(join(folder, 'golden.json'), 'utf8'));
    list.push([name, folder, [[...input_ids.flat(), ...greedy]]]);
  }
  return list;
}

async function measure(name, folder, sequences) {
  const packs = {};
  for (const quant of ['4bit', '2bit']) {
    packs[quant] = await packDirectory(folder, join(root, name, quant), {
      addon,
      quant,
      threads: 1,
    });
  }
  const { modelDir } = packs['4bit'];
  const truth = await logitsOf(packs['4bit'], sequences);
  const kept = (narrow) => PROJECTIONS.filter((each) => !narrow.includes(each));
  const choices = [
    ...PROJECTIONS.map((each) => [each]),
    ...PROJECTIONS.map((each) => PROJECTIONS.filter((other) => other !== each)),
    PROJECTIONS,
  ];
  for (const narrow of choices) {
    const expertsDir = await mixed(packs, kept(narrow), join(root, name, narrow.join('-')));
    const { error, divergence } = distance(
      truth,
      await logitsOf({ modelDir, expertsDir }, sequences),
    );
    const words = narrow.map((each) => each.replace('_proj', '')).join(', ');
    console.log(
      `| ${name} | ${kept(narrow).length} of 3 kept | ${words} | ${error.toFixed(4)} | ${divergence.toFixed(5)} |`,
    );
  }
}

/** Experts put together from both packs, component by component. */
async function mixed(packs, keptNames, target) {
  const read = async ({ expertsDir }) =>
    JSON.parse(await readFile(join(expertsDir, 'layout.json'), 'utf8'));
  const [wide, narrow] = [await read(packs['4bit']), await read(packs['2bit'])];
  const from = (component) => keptNames.includes(component.name.split('.')[0]);
  await mkdir(target, { recursive: true });
  const layouts = wide.layouts.map((layout, index) => {
    let offset = 0;
    const components = layout.components.map((component, i) => {
      const chosen = from(component) ? component : narrow.layouts[index].components[i];
      const placed = { ...chosen, offset };
      offset += chosen.size;
      return placed;
    });
    return { components, expert_size: offset, expert_stride: Math.ceil(offset / PAGE) * PAGE };
  });
  const layers = [];
  for (const [at, layer] of wide.layers.entries()) {
    const [a, b] = [
      await readFile(join(packs['4bit'].expertsDir, layer.file)),
      await readFile(join(packs['2bit'].expertsDir, narrow.layers[at].file)),
    ];
    const layout = layouts[layer.layout];
    const out = Buffer.alloc(wide.num_experts * layout.expert_stride);
    for (let expert = 0; expert < wide.num_experts; expert++) {
      layout.components.forEach((component, i) => {
        const [bytes, old] = from(component) ? [a, wide.layouts] : [b, narrow.layouts];
        const source = old[layer.layout];
        const start = expert * source.expert_stride + source.components[i].offset;
        bytes.copy(
          out,
          expert * layout.expert_stride + component.offset,
          start,
          start + component.size,
        );
      });
    }
    await writeFile(join(target, layer.file), out);
    layers.push({ ...layer, size: out.length });
  }
  await writeFile(join(target, 'layout.json'), JSON.stringify({ ...wide, layouts, layers }));
  return target;
}
