import { join } from 'node:path';
import { importSources } from '../tools/typescript.mjs';

const { loadAddon, packageRoot } = await importSources('addon/load', 'base/package-root');

/** The addon of this checkout, as `npm run build:native` leaves it. */
export function packageAddon() {
  return loadAddon([join(packageRoot, 'build', 'Release', 'flashmoe.node')]).addon;
}
