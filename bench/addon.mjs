import { join } from 'node:path';
import { loadAddon, packageRoot } from '../dist/addon/load.js';

/** The addon of this checkout, as `npm run build:native` leaves it. */
export function packageAddon() {
  return loadAddon([join(packageRoot, 'build', 'Release', 'flashmoe.node')]).addon;
}
