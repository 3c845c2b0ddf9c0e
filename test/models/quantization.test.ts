import { expect, test } from 'vitest';
import { Config } from '../../src/models/config.js';
import { checkWidth, readQuantization, widthConflict } from '../../src/models/quantization.js';

const read = (config: object) => readQuantization(Config.of(config));
const four = { bits: 4, groupSize: 64, mode: 'affine' } as const;

test('the block is found at the top, as quantization_config, and inside text_config', () => {
  const block = { bits: 4, group_size: 64 };
  for (const config of [
    { quantization: block },
    { quantization_config: block },
    { text_config: { quantization: block } },
    { text_config: { quantization_config: block } },
  ]) {
    expect(read(config)?.global).toEqual(four);
  }
  expect(read({})).toBeNull();
});

test('overrides are booleans or objects, whose missing fields are the mode default and not the global value', () => {
  const block = read({
    quantization: {
      bits: 8,
      group_size: 32,
      'language_model.a': { bits: 2 },
      b: true,
      c: false,
      d: { group_size: 128, bits: 8, mode: 'affine' },
    },
  });
  expect(Object.fromEntries(block?.overrides ?? [])).toEqual({
    a: { bits: 2, groupSize: 64, mode: 'affine' },
    b: { bits: 8, groupSize: 32, mode: 'affine' },
    c: null,
    d: { bits: 8, groupSize: 128, mode: 'affine' },
  });
});

test.each<[object, string]>([
  [{ quantization: { bits: 4, mode: 'mxfp6' } }, 'quantization.mode = "mxfp6"'],
  [{ quantization: { bits: 4, 'x.y': { mode: 'int8' } } }, 'quantization.x.y.mode = "int8"'],
  [{ quantization_config: { quant_method: 'fp8' } }, 'quantization_config.quant_method = "fp8"'],
])('another kind of quantisation is refused by name: %j', (config, message) => {
  expect(() => read(config)).toThrow(message);
});

test('a floating point mode has one width, and an override without a mode is affine', () => {
  const block = read({
    quantization: { bits: 4, group_size: 32, mode: 'mxfp4', gate: { group_size: 64, bits: 8 } },
  });
  expect(block?.global).toEqual({ bits: 4, groupSize: 32, mode: 'mxfp4' });
  expect(block?.overrides.get('gate')).toEqual({ bits: 8, groupSize: 64, mode: 'affine' });
  expect(read({ quantization: { mode: 'nvfp4' } })?.global.groupSize).toBe(16);
});

test('shapes win, and a sentence says so', () => {
  const block = read({ quantization: { bits: 4, group_size: 64, gate: { bits: 8 }, plain: false } });
  const eight = { bits: 8, groupSize: 64, mode: 'affine' } as const;
  expect(widthConflict(block, 'gate', eight)).toBeNull();
  expect(widthConflict(block, 'other', four)).toBeNull();
  expect(widthConflict(block, 'other', null)).toBeNull();
  expect(widthConflict(block, 'plain', null)).toBeNull();
  expect(widthConflict(block, 'gate', four)).toContain('8 bits in groups of 64, the tensors are 4 bits');
  expect(widthConflict(block, 'plain', four)).toContain('not quantised');
  expect(widthConflict(null, 'gate', four)).toBeNull();
});

test('odd widths are refused naming the module', () => {
  expect(() => checkWidth('model.norm', { bits: 7, groupSize: 64, mode: 'affine' })).toThrow(/model\.norm.*7 bits/);
  expect(() => checkWidth('model.norm', { bits: 4, groupSize: 8, mode: 'affine' })).toThrow(/groups of 8/);
  expect(() => checkWidth('model.norm', four)).not.toThrow();
});
