// The `quantization` block of an MLX config.json. It only cross-checks: shapes in the shard headers are
// the truth, since a gate read with the wrong width yields fluent nonsense instead of an error.

import { FlashmoeError } from '../base/errors.js';
import { type Config, isRecord, unsupported } from './config.js';
import { manifestName } from './names.js';

export interface AffineWidth {
  bits: number;
  groupSize: number;
}

/** What MLX's affine mode falls back to for a field that an override leaves out. */
const MODE_DEFAULT: AffineWidth = { bits: 4, groupSize: 64 };
export const SUPPORTED_BITS = [2, 4, 8];
export const SUPPORTED_GROUP_SIZES = [32, 64, 128];

export interface QuantizationBlock {
  global: AffineWidth;
  /** By module name as in our manifest; null means "not quantised". */
  overrides: Map<string, AffineWidth | null>;
}

/**
 * Null when config.json has no block. Throws ERR_UNSUPPORTED_MODEL for another mode than affine, for a
 * block of another tool (`quant_method`), and for widths outside {2,4,8} and {32,64,128}.
 */
export function readQuantization(config: Config): QuantizationBlock | null {
  const text = config.object('text_config');
  const block =
    config.object('quantization') ??
    text?.object('quantization') ??
    config.object('quantization_config') ??
    text?.object('quantization_config') ??
    null;
  if (block === null) return null;
  if (block.has('quant_method')) {
    throw unsupported(block.name('quant_method'), block.raw('quant_method'), 'MLX affine blocks');
  }
  block.only('mode', 'affine');
  const global = {
    bits: block.int('bits', { fallback: MODE_DEFAULT.bits }),
    groupSize: block.int('group_size', { fallback: MODE_DEFAULT.groupSize }),
  };
  const overrides = new Map<string, AffineWidth | null>();
  for (const key of block.keys()) {
    const value = block.raw(key);
    if (value === true) overrides.set(manifestName(key), global);
    else if (value === false) overrides.set(manifestName(key), null);
    else if (isRecord(value)) {
      const override = block.object(key) as Config;
      override.only('mode', 'affine');
      overrides.set(manifestName(key), {
        bits: override.int('bits', { fallback: MODE_DEFAULT.bits }),
        groupSize: override.int('group_size', { fallback: MODE_DEFAULT.groupSize }),
      });
    }
  }
  return { global, overrides };
}

/** Throws ERR_UNSUPPORTED_MODEL when config.json has a block and no tensor of the checkpoint is quantised. */
export function refuseWithoutScales(
  block: QuantizationBlock | null,
  tensorNames: Iterable<string>,
): void {
  if (block === null) return;
  for (const name of tensorNames) if (name.endsWith('.scales')) return;
  throw new FlashmoeError(
    'ERR_UNSUPPORTED_MODEL',
    `config.json says ${describe(block.global)}, and no tensor has scales: all of them are unquantised`,
    { subject: 'quantization', hint: 'choose a repository whose config.json and weights agree' },
  );
}

/** Throws ERR_UNSUPPORTED_MODEL naming the module. */
export function checkWidth(module: string, width: AffineWidth): void {
  const ok =
    SUPPORTED_BITS.includes(width.bits) && SUPPORTED_GROUP_SIZES.includes(width.groupSize);
  if (ok) return;
  throw new FlashmoeError(
    'ERR_UNSUPPORTED_MODEL',
    `${module}: stored with ${width.bits} bits in groups of ${width.groupSize}; supported are ` +
      `${SUPPORTED_BITS.join(', ')} bits in groups of ${SUPPORTED_GROUP_SIZES.join(', ')}`,
    { subject: module },
  );
}

/** What the block says against the shapes, as "config.json says … the tensors are …"; null when both agree. */
export function widthConflict(
  block: QuantizationBlock | null,
  module: string,
  found: AffineWidth | null,
): string | null {
  if (block === null) return null;
  const declared = block.overrides.get(module);
  // Without an override a module is quantised iff it has scales, so the block says nothing about that.
  if (declared === undefined && found === null) return null;
  const expected = declared === undefined ? block.global : declared;
  const same =
    expected === null || found === null
      ? expected === found
      : expected.bits === found.bits && expected.groupSize === found.groupSize;
  return same
    ? null
    : `config.json says ${describe(expected)}, the tensors are ${describe(found)}; the tensors count`;
}

function describe(width: AffineWidth | null): string {
  return width === null ? 'not quantised' : `${width.bits} bits in groups of ${width.groupSize}`;
}
