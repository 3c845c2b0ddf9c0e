// The native addon of this home or of this package, loaded at the moment a command needs it.

import { addonCandidates, loadAddon } from '../addon/load.js';
import type { NativeAddon } from '../addon/types.js';
import type { CliContext } from './context.js';

/** In the order in which they are tried. */
export function addonPaths({ host, home }: CliContext): string[] {
  return addonCandidates({
    override: host.env['FLASHMOE_ADDON'],
    engineDir: home.engine,
    platform: host.platform,
    arch: host.arch,
  });
}

/** Throws ERR_ENGINE naming every path that was tried and why it was not taken. */
export function nativeAddon(context: CliContext): NativeAddon {
  return loadAddon(addonPaths(context)).addon;
}
