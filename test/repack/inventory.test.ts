import { describe, expect, test } from 'vitest';
import { parseIndex, readInventory, selectShards } from '../../src/repack/inventory.js';
import { shardSources } from './synthetic.js';

const a = { name: 'a', dtype: 'U32', shape: [2] };
const b = { name: 'b', dtype: 'U32', shape: [3] };
const [one, two] = [
  'model-00001-of-00002.safetensors',
  'model-00002-of-00002.safetensors',
] as const;

const index = (map: Record<string, unknown>) => JSON.stringify({ metadata: {}, weight_map: map });

test('tensors of all shards come together with where they lie', async () => {
  const { inventory, warnings } = await readInventory(
    shardSources([[a], [b]]),
    parseIndex(index({ a: one, b: two })),
  );
  expect(warnings).toEqual([]);
  expect(
    [...inventory.tensors.values()].map(({ name, shard, size }) => [name, shard, size]),
  ).toEqual([
    ['a', one, 8],
    ['b', two, 12],
  ]);
});

test('a tensor in two shards is refused', async () => {
  await expect(readInventory(shardSources([[a], [a]]), null)).rejects.toThrow(
    /"a" is in .* and in/,
  );
});

test('an index that maps a tensor elsewhere is refused, one that forgets it is a warning', async () => {
  const sources = shardSources([[a], [b]]);
  const read = (map: Record<string, string>) => readInventory(sources, parseIndex(index(map)));
  await expect(read({ a: two, b: two })).rejects.toThrow(`"a" is in ${two}, but it is in ${one}`);
  await expect(read({ a: one, b: two, c: two })).rejects.toThrow('no shard holds it');
  expect((await read({ a: one })).warnings).toEqual(['1 tensors are missing in the index']);
});

describe('shard names', () => {
  test('come from the index, or are all safetensors files', () => {
    const files = ['README.md', two, one, 'golden.safetensors'];
    expect(selectShards(files, parseIndex(index({ a: one, b: two })))).toEqual([one, two]);
    expect(selectShards(['model.safetensors', 'x.bin'], null)).toEqual(['model.safetensors']);
  });

  test('that the repository lacks are named', () => {
    expect(() => selectShards([one], parseIndex(index({ a: one, b: two })))).toThrow(two);
    expect(() => selectShards(['model.bin'], null)).toThrow('no .safetensors');
  });

  test.each([
    '../x.safetensors',
    '/x.safetensors',
    'a/b.safetensors',
    'a\\b.safetensors',
    '.x.safetensors',
    'x.bin',
    'x.safetensors\0',
    3,
    null,
  ])('that are no plain file name are refused: %j', (shard) => {
    expect(() => parseIndex(index({ a: shard }))).toThrow('no plain shard name');
  });
});

test.each([['{'], ['[]'], ['{}'], ['{"weight_map":[]}'], ['{"weight_map":{"a":"x","a":"y"}}']])(
  'an index that is none is refused: %s',
  (json) => {
    expect(() => parseIndex(json)).toThrow('model.safetensors.index.json');
  },
);
