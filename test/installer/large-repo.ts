// A repository of one layer with more experts than fit a block of 16 MiB, with weights that are real bytes.

import { copyFile, mkdir, open, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { bytesOf, deal, declare, specOf, type Declared } from '../repack/synthetic.js';
import { fixture } from '../repack/fixtures.js';

/** Writes it below `folder`; its layer has two blocks at 4 bits and one and a bit at 2, unless there are fewer experts. */
export async function makeLargeRepo(
  folder: string,
  { experts = 80, shardBytes = 20 << 20 } = {},
): Promise<void> {
  const source = fixture('qwen3_moe');
  const config = JSON.parse(await readFile(join(source, 'config.json'), 'utf8')) as object;
  const large = { ...config, ...SIZES, num_experts: experts } as Record<string, unknown>;
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'config.json'), JSON.stringify(large));
  for (const name of ['tokenizer.json', 'tokenizer_config.json', 'chat_template.jinja']) {
    await copyFile(join(source, name), join(folder, name)).catch(() => undefined);
  }
  const spec = specOf(large);
  const shards = deal(declare(spec, { bits: () => 4 }), shardBytes);
  const weightMap: Record<string, string> = {};
  for (const [index, tensors] of shards.entries()) {
    const number = (n: number): string => String(n).padStart(5, '0');
    const name = `model-${number(index + 1)}-of-${number(shards.length)}.safetensors`;
    for (const tensor of tensors) weightMap[tensor.name] = name;
    await writeShard(join(folder, name), tensors, index + 1);
  }
  const metadata = { total_size: shards.flat().reduce((sum, each) => sum + bytesOf(each), 0) };
  const text = JSON.stringify({ metadata, weight_map: weightMap });
  await writeFile(join(folder, 'model.safetensors.index.json'), text);
}

const SIZES = {
  ...{ hidden_size: 512, moe_intermediate_size: 512, num_hidden_layers: 1 },
};

async function writeShard(path: string, tensors: Declared[], seed: number): Promise<void> {
  let at = 0;
  const header = Object.fromEntries(
    tensors.map((tensor) => {
      const begin = at;
      at += bytesOf(tensor);
      const { name, dtype, shape } = tensor;
      return [name, { dtype, shape, data_offsets: [begin, at] }];
    }),
  );
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  const file = await open(path, 'w');
  await file.write(Buffer.concat([length, text]));
  let state = seed;
  for (const tensor of tensors) {
    const bytes = Buffer.alloc(bytesOf(tensor));
    for (let i = 0; i < bytes.length; i += 2) {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      // Codes may be anything; numbers are small BF16 ones.
      const value = tensor.dtype === 'U32' ? state >>> 16 : 0x3c00 | (state >>> 25);
      bytes.writeUInt16LE(value, i);
    }
    await file.write(bytes);
  }
  await file.close();
}
