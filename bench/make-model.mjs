// Makes the benchmark's model once: as an MLX repository, packed by our own packer, and as GGUF files of the same shape.
// Usage: node make-model.mjs FOLDER [LAYERS]
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageAddon } from './addon.mjs';
import { makeGguf } from './make-gguf.mjs';
import { makeSafetensors } from './make-safetensors.mjs';
import { benchShape } from './shape.mjs';
import { importSources } from '../tools/typescript.mjs';

const { packDirectory } = await importSources('repack/pack-directory');

/** @returns {{packed: string, repacked: string, mapped: string}} our folder, and the peer's two files */
export async function makeModel(folder, layers) {
  const packed = join(folder, `packed-${layers}`);
  const repacked = join(folder, `model-${layers}-q4_0.gguf`);
  const mapped = join(folder, `model-${layers}-q4_1.gguf`);
  const done = join(folder, `made-${layers}`);
  if (!existsSync(done)) {
    mkdirSync(folder, { recursive: true });
    const shape = benchShape({ layers });
    const source = join(folder, `source-${layers}`);
    makeSafetensors(shape, source);
    const addon = packageAddon();
    await packDirectory(source, packed, { addon, quant: '4bit', threads: 2 });
    rmSync(source, { recursive: true });
    makeGguf(shape, repacked, 'q4_0');
    makeGguf(shape, mapped, 'q4_1');
    writeFileSync(done, '');
  }
  return { packed, repacked, mapped };
}
