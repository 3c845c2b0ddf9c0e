// What stands in an old home's fixture in place of paths, and which of its files are made again.

export const PLACES: Readonly<Record<string, string>> = {
  home: '@HOME@',
  volume: '@VOLUME@',
  package: '@PACKAGE@',
  node: '@NODE@',
};

/** Packed weights of the bundled model: the packer makes the very same bytes from models/tiny. */
export function isRemade(name: string): boolean {
  return /^(home|volume)\/.*tiny[^/]*\/(model_weights\.bin|packed_experts[^/]*\/layer_\d+\.bin)$/.test(
    name,
  );
}
