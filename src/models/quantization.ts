// The `quantization` block of an MLX config.json. It only cross-checks: shapes in the shard headers are
// the truth, since a gate read with the wrong width yields fluent nonsense instead of an error.

import { FlashmoeError } from '../base/errors.js';
import { type Config, isRecord, unsupported } from './config.js';
import { manifestName } from './names.js';
import type { QuantMode } from './spec.js';

export interface Width {
  bits: number;
  groupSize: number;
  mode: QuantMode;
}

/** What MLX's modes fall back to for a field that an override leaves out. */
const MODE_DEFAULT: Readonly<Record<QuantMode, Width>> = {
  affine: { bits: 4, groupSize: 64, mode: 'affine' },
  mxfp4: { bits: 4, groupSize: 32, mode: 'mxfp4' },
  nvfp4: { bits: 4, groupSize: 16, mode: 'nvfp4' },
  mxfp8: { bits: 8, groupSize: 32, mode: 'mxfp8' },
};
const MODES = Object.keys(MODE_DEFAULT) as QuantMode[];
const AFFINE_BITS = [2, 3, 4, 5, 6, 8];
const AFFINE_GROUP_SIZES = [16, 32, 64, 128];

export interface QuantizationBlock {
  global: Width;
  /** By module name as in our manifest; null means "not quantised". */
  overrides: Map<string, Width | null>;
}

/**
 * Null when config.json has no block. Throws ERR_UNSUPPORTED_MODEL for an unknown mode and for a block of another
 * tool (`quant_method`).
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
  const global = readWidth(block);
  const overrides = new Map<string, Width | null>();
  for (const key of block.keys()) {
    const value = block.raw(key);
    if (value === true) overrides.set(manifestName(key), global);
    else if (value === false) overrides.set(manifestName(key), null);
    else if (isRecord(value)) {
      overrides.set(manifestName(key), readWidth(block.object(key) as Config));
    }
  }
  return { global, overrides };
}

/** Without a mode it is affine, whatever the rest of the block says. */
function readWidth(block: Config): Width {
  block.only('mode', ...MODES);
  const fallback = MODE_DEFAULT[block.string('mode', 'affine') as QuantMode];
  return {
    bits: block.int('bits', { fallback: fallback.bits }),
    groupSize: block.int('group_size', { fallback: fallback.groupSize }),
    mode: fallback.mode,
  };
}

/** The floating point mode that has this width, or null: each has one of its own. */
export function floatMode(bits: number, groupSize: number): QuantMode | null {
  const found = MODES.find((mode) => {
    const width = MODE_DEFAULT[mode];
    return mode !== 'affine' && width.bits === bits && width.groupSize === groupSize;
  });
  return found ?? null;
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
export function checkWidth(module: string, width: Width): void {
  const ok =
    width.mode !== 'affine' ||
    (AFFINE_BITS.includes(width.bits) && AFFINE_GROUP_SIZES.includes(width.groupSize));
  if (ok) return;
  throw new FlashmoeError(
    'ERR_UNSUPPORTED_MODEL',
    `${module}: stored with ${width.bits} bits in groups of ${width.groupSize}; supported are ` +
      `${AFFINE_BITS.join(', ')} bits in groups of ${AFFINE_GROUP_SIZES.join(', ')}`,
    { subject: module },
  );
}

/** What the block says against the shapes, as "config.json says … the tensors are …"; null when both agree. */
export function widthConflict(
  block: QuantizationBlock | null,
  module: string,
  found: Width | null,
): string | null {
  if (block === null) return null;
  const declared = block.overrides.get(module);
  // Without an override a module is quantised iff it has scales, so the block says nothing about that.
  if (declared === undefined && found === null) return null;
  const expected = declared === undefined ? block.global : declared;
  const same =
    expected === null || found === null
      ? expected === found
      : expected.bits === found.bits &&
        expected.groupSize === found.groupSize &&
        expected.mode === found.mode;
  return same
    ? null
    : `config.json says ${describe(expected)}, the tensors are ${describe(found)}; the tensors count`;
}

function describe(width: Width | null): string {
  if (width === null) return 'not quantised';
  const mode = width.mode === 'affine' ? '' : `${width.mode}, `;
  return `${mode}${width.bits} bits in groups of ${width.groupSize}`;
}
