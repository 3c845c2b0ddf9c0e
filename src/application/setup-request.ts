// What the installer needs to be told of this machine, this environment and a choice.

import { join } from 'node:path';
import { packageRoot } from '../base/package-root.js';
import { openEngine } from '../engine/open-engine.js';
import { hubSettings } from '../hub/settings.js';
import type { HubSettings } from '../hub/types.js';
import type { Quant } from '../models/quant.js';
import type { SetupRequest, SetupContext } from '../installer/setup.js';
import type { ShareAddress } from '../share/offer.js';
import { CATALOG } from '../models/catalog.js';
import { detectServiceManager } from '../service-manager.js';
import type { ServiceManager } from '../service.js';
import { homebrewService } from './install-service.js';
import { serviceOf } from './service.js';
import type { AppContext } from './context.js';
import { readyInstallations } from './ready-models.js';
import { installationId } from '../store/model-files.js';
import { defaultAfterSetup } from '../settings/default-model.js';
import type { SetupOptions } from '../settings/setup-options.js';
import { isBundled, type Target } from './target.js';

export function setupRequest(
  { model, repo, revision, bundled }: Target,
  quant: Quant,
  options: SetupOptions,
  from: { share: ShareAddress | null; resumeCommand: string },
): SetupRequest {
  const { share, resumeCommand } = from;
  return {
    ...options,
    ...{ model, repo, revision, quant, share, resumeCommand, bytesPerSecond: null },
    from: share === null ? options.from : null,
    limits: { ...options.limit, ...options.hours },
    patient: options.yes === true,
    bundled: bundled && options.from === null ? join(packageRoot, 'models', model) : null,
    questions: [],
  };
}

export interface Surroundings {
  hub: HubSettings;
  /** What the user should know of the environment's settings. */
  notices: string[];
  manager: ServiceManager | null;
}

export async function lookAround(context: AppContext): Promise<Surroundings> {
  const { host, signal } = context;
  const { hub, notices } = await environment(context);
  return { hub, notices, manager: await detectServiceManager(host, signal) };
}

/** What the environment says about the hub. */
export async function environment({
  host,
  version,
}: AppContext): Promise<Pick<Surroundings, 'hub' | 'notices'>> {
  const { settings, notices } = await hubSettings({
    env: host.env,
    homeDirectory: host.homeDirectory,
    userAgent: `flashmoe/${version}; node/${host.nodeVersion}`,
  });
  return { hub: settings, notices };
}

/**
 * `wantsService` is asked when the service step comes, so that a wizard may still be deciding. `settle` decides the default
 * model, which the server reads when it starts.
 */
export function setupContext(
  context: AppContext,
  { hub, manager }: Surroundings,
  wantsService: () => boolean,
  settle: () => Promise<unknown>,
): SetupContext {
  const install = async (signal: AbortSignal): Promise<string> => {
    if (manager === null) return 'no service manager here';
    await settle();
    // Its own process reads the settings anew at its next start; a second definition would only fight with it.
    if (homebrewService(context) !== null) return 'Homebrew starts it already';
    const status = await manager.install(serviceOf(context), signal);
    return status.running ? `running under ${status.manager}` : status.detail;
  };
  return {
    home: context.home,
    host: context.host,
    hub,
    openEngine,
    get installService() {
      return manager !== null && wantsService() ? install : null;
    },
  };
}

/** Tells in a sentence which model answers when none is named, where a setup leaves that to another or takes it over. */
export async function settleDefault(
  context: AppContext,
  target: Target,
  quant: Quant,
): Promise<string | null> {
  const { model, bundled } = target;
  const finished = { model, quant, bundled };
  const { before, now } = await defaultAfterSetup(
    context.home.settings,
    finished,
    (id) => isBundled(CATALOG.find((entry) => entry.id === id)?.repo ?? ''),
    async ({ model: id, quant: width }) =>
      (await readyInstallations(context.home)).some(
        ({ manifest }) =>
          manifest.model === id && (width === undefined || manifest.quant === width),
      ),
  );
  const name = installationId(model, quant);
  if (now.model !== model || now.quant !== quant) {
    const kept = installationId(now.model, now.quant ?? '4bit');
    return `${kept} still answers when no model is named; \`flashmoe use ${name}\` changes that`;
  }
  if (before === null || (before.model === model && before.quant === quant)) return null;
  return `${name} answers from now on when no model is named, in place of ${before.model}`;
}
