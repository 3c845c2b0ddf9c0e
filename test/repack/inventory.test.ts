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

describe('a stale index is a warning and the headers count, where it', () => {
  const sources = shardSources([[a], [b]]);
  const read = (map: Record<string, string>) => readInventory(sources, parseIndex(index(map)));
  const stale = 'model.safetensors.index.json is stale: ';
  test.each<[string, Record<string, string>, string]>([
    [
      'maps a tensor to another shard',
      { a: two, b: two },
      `${stale}1 tensors are in another shard than it says (a is in ${one})`,
    ],
    [
      'names a shard that is not there',
      { a: one, b: 'x.safetensors' },
      `${stale}1 tensors are in another shard than it says (b is in ${two})`,
    ],
    [
      'lists a tensor that no shard has',
      { a: one, b: two, c: two },
      `${stale}1 tensors are in no shard (c)`,
    ],
  ])('%s', async (_, map, warning) => {
    const { inventory, warnings } = await read(map);
    expect([...inventory.tensors].map(([name, { shard }]) => [name, shard])).toEqual([
      ['a', one],
      ['b', two],
    ]);
    expect(warnings).toEqual([warning]);
  });

  test('forgets a tensor of a shard that it names', async () => {
    const both = shardSources([[a, b]]);
    const { warnings } = await readInventory(both, parseIndex(index({ a: both[0]?.path ?? '' })));
    expect(warnings).toEqual(['1 tensors are missing in the index']);
  });
});

test('of two copies the one counts that the index names, and a file that it never names is not read', async () => {
  const sources = shardSources([[a], [a, b], [{ ...a, name: 'consolidated' }]]);
  const [first = '', second = ''] = sources.map(({ path }) => path);
  const map = parseIndex(index({ a: first, b: second }));
  const { inventory, warnings } = await readInventory(sources, map);
  expect([...inventory.tensors.values()].map(({ name, shard }) => [name, shard])).toEqual([
    ['a', first],
    ['b', second],
  ]);
  expect(inventory.shards.map(({ path }) => path)).toEqual([first, second]);
  expect(warnings).toEqual([]);
});

describe('shard names', () => {
  test('are those of all safetensors files at the root, and there must be one', () => {
    const files = ['README.md', two, one, 'sub/x.safetensors', '.x.safetensors'];
    expect(selectShards(files)).toEqual([one, two]);
    expect(() => selectShards(['model.bin'])).toThrow('no .safetensors');
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
