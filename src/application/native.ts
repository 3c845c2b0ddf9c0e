// The native addon of this home or of this package, loaded at the moment a command needs it.

import { addonCandidates, loadAddon } from '../addon/load.js';
import type { NativeAddon } from '../addon/types.js';
import type { AppContext } from './context.js';

/** In the order in which they are tried. */
export function addonPaths({ host, home }: AppContext): string[] {
  return addonCandidates({
    override: host.env['FLASHMOE_ADDON'],
    engineDir: home.engine,
    platform: host.platform,
    arch: host.arch,
  });
}

/** Throws ERR_ENGINE naming every path that was tried and why it was not taken. */
export function nativeAddon(context: AppContext): NativeAddon {
  return loadAddon(addonPaths(context)).addon;
}
