// Copies of a packed model with one thing wrong that hashes of the source can't see.

import { cp, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';

export interface PackedModel {
  modelDir: string;
  expertsDir: string;
}

interface Component {
  name: string;
  offset: number;
  size: number;
}

interface Layout {
  num_experts: number;
  layouts: { expert_stride: number; components: Component[] }[];
  layers: { file: string; layout: number }[];
}

type Change = (model: PackedModel, layout: Layout) => Promise<void>;

/** Codes of some layers, made up; scales and biases stay. Reproducible. */
function randomised(...layers: number[]): Change {
  return (model, layout) =>
    eachExpert(model, layout, layers, (expert, components) => {
      for (const { name, offset, size } of components) {
        if (name.endsWith('.weight')) noise(expert.subarray(offset, offset + size));
      }
    });
}

let seed = 1;
function noise(bytes: Buffer): void {
  for (let at = 0; at < bytes.length; at++) {
    seed = (seed * 48_271) % 2_147_483_647;
    bytes[at] = seed & 0xff;
  }
}

function swapped(one: number, other: number): Change {
  return async ({ expertsDir }, { layers }) => {
    const path = (layer: number): string => join(expertsDir, layers[layer]?.file ?? '');
    await rename(path(one), join(expertsDir, 'aside'));
    await rename(path(other), path(one));
    await rename(join(expertsDir, 'aside'), path(other));
  };
}

function gateForUp(...layers: number[]): Change {
  return (model, layout) =>
    eachExpert(model, layout, layers, (expert, components) => {
      const before = Buffer.from(expert);
      for (const { name, offset, size } of components) {
        const twin = name.startsWith('gate_proj')
          ? name.replace('gate', 'up')
          : name.replace('up_', 'gate_');
        const from = components.find((each) => each.name === twin);
        if (from?.size === size) before.copy(expert, offset, from.offset, from.offset + size);
      }
    });
}

function oneStrideOff(...layers: number[]): Change {
  return async ({ expertsDir }, layout) => {
    for (const layer of layers) {
      const { file, layout: kind } = layout.layers[layer] ?? { file: '', layout: 0 };
      const bytes = await readFile(join(expertsDir, file));
      const stride = layout.layouts[kind]?.expert_stride ?? 0;
      const moved = Buffer.concat([bytes.subarray(stride), bytes.subarray(0, stride)]);
      await writeFile(join(expertsDir, file), moved);
    }
  };
}

interface Dense {
  config: { layers: { mixer: { rope?: { dims: number; invFreq: number[] } } }[] };
  tensors: Record<string, { offset: number; size: number; dtype: string }>;
}

/** The bundled model has 10000. */
function ropeTheta(theta: number): Change {
  return async ({ modelDir }) => {
    const path = join(modelDir, 'model_weights.json');
    const dense = JSON.parse(await readFile(path, 'utf8')) as Dense;
    for (const { mixer } of dense.config.layers) {
      if (mixer.rope === undefined) continue;
      const { dims } = mixer.rope;
      mixer.rope.invFreq = mixer.rope.invFreq.map((_, i) => theta ** ((-2 * i) / dims));
    }
    await writeFile(path, JSON.stringify(dense));
  };
}

const everythingRandom: Change = async (model, layout) => {
  await randomised(...ALL)(model, layout);
  const text = await readFile(join(model.modelDir, 'model_weights.json'), 'utf8');
  const path = join(model.modelDir, 'model_weights.bin');
  const bytes = await readFile(path);
  for (const { dtype, offset, size } of Object.values((JSON.parse(text) as Dense).tensors)) {
    if (dtype === 'U32') noise(bytes.subarray(offset, offset + size));
  }
  await writeFile(path, bytes);
};

const ALL = [0, 1, 2, 3, 4, 5, 6, 7];

export const MUTANTS: Readonly<Record<string, Change>> = {
  'one layer randomised': randomised(3),
  'another layer randomised': randomised(7),
  'two layers swapped': swapped(2, 5),
  'the last two layers swapped': swapped(6, 7),
  'gate and up exchanged': gateForUp(...ALL),
  'experts offset by one stride': oneStrideOff(...ALL),
  'experts of one layer offset by one stride': oneStrideOff(3),
  'a rope theta of 1000': ropeTheta(1e3),
  'a rope theta of 10000000': ropeTheta(1e7),
  'all weights random': everythingRandom,
};

/** Too small a change for questions alone: only known figures of the very same weights show it. */
export const SMALL_MUTANTS: Readonly<Record<string, Change>> = {
  'gate and up exchanged in one layer': gateForUp(3),
  'a rope theta of 100000': ropeTheta(1e5),
};

async function eachExpert(
  { expertsDir }: PackedModel,
  layout: Layout,
  layers: number[],
  change: (expert: Buffer, components: Component[]) => void,
): Promise<void> {
  for (const layer of layers) {
    const { file, layout: kind } = layout.layers[layer] ?? { file: '', layout: 0 };
    const { expert_stride: stride, components } = layout.layouts[kind] ?? {
      ...{ expert_stride: 0, components: [] },
    };
    const bytes = await readFile(join(expertsDir, file));
    for (let at = 0; at < layout.num_experts; at++) {
      change(bytes.subarray(at * stride, (at + 1) * stride), components);
    }
    await writeFile(join(expertsDir, file), bytes);
  }
}

/** A changed copy for as long as `use` takes. */
export async function withMutant<T>(
  { modelDir, expertsDir }: PackedModel,
  change: Change,
  use: (mutant: PackedModel) => Promise<T>,
): Promise<T> {
  const root = await mkdtemp(join(tmpdir(), 'flashmoe-mutant-'));
  try {
    await cp(modelDir, root, { recursive: true });
    const mutant = { modelDir: root, expertsDir: join(root, basename(expertsDir)) };
    const text = await readFile(join(mutant.expertsDir, 'layout.json'), 'utf8');
    await change(mutant, JSON.parse(text) as Layout);
    return await use(mutant);
  } finally {
    await rm(root, { recursive: true });
  }
}
