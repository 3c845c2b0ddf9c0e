// Packs the four fixtures for a machine that has a GPU and perhaps no Node: build/gpu/FAMILY with the packed model,
// tokens.txt and reference.f32 [tokens, vocab] (transformers, float32). Needs `make build` before.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { importSources } from '../../tools/typescript.mjs';

const { loadAddon, packageRoot, packDirectory } = await importSources(
  'base/package-root',
  'addon/load',
  'repack/pack-directory',
);

const FAMILIES = ['qwen3_5_moe', 'qwen3_moe', 'deepseek_v3', 'kimi_k2'];
const here = dirname(fileURLToPath(import.meta.url));
const { addon } = loadAddon([join(packageRoot, 'build', 'Release', 'flashmoe.node')]);

/** Bytes of one tensor of a safetensors file: 8 bytes of header length, the header, then the data. */
function tensor(path, name) {
  const file = readFileSync(path);
  const header = Number(file.readBigUInt64LE(0));
  const { data_offsets: range } = JSON.parse(file.toString('utf8', 8, 8 + header))[name];
  return file.subarray(8 + header + range[0], 8 + header + range[1]);
}

for (const family of FAMILIES) {
  const source = join(packageRoot, 'test', 'fixtures', family);
  const target = join(here, 'build', 'gpu', family);
  rmSync(target, { recursive: true, force: true });
  mkdirSync(target, { recursive: true });
  await packDirectory(source, target, { addon, quant: '4bit', threads: 2 });
  const { input_ids: ids } = JSON.parse(readFileSync(join(source, 'golden.json'), 'utf8'));
  writeFileSync(join(target, 'tokens.txt'), `${ids.flat().join(' ')}\n`);
  writeFileSync(join(target, 'reference.f32'), tensor(join(source, 'golden.safetensors'), 'logits'));
}
