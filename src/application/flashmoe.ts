// flashmoe for programs: what the commands do, without a command line. Nothing here prints, prompts or exits.

import { currentHost, flashmoeHome } from '../base/host.js';
import { homePaths } from '../base/paths.js';
import type { Engine } from '../engine/types.js';
import { openSetup, type Setup } from '../installer/setup.js';
import { Controls } from '../jobs/controls.js';
import type { InstallEvent, PlanSummary } from '../jobs/events.js';
import { DEFAULT_PORT, serve, type RunningServer } from '../server/serve.js';
import type { EngineOptions } from '../settings/engine-options.js';
import { checkValue, withNothingSaid, type OptionSet } from '../settings/option.js';
import { setupArguments, setupOptions, type SetupOptions } from '../settings/setup-options.js';
import { Presence } from '../store/presence.js';
import type { Receipt } from '../store/receipt.js';
import { commandLine } from './command-line.js';
import type { AppContext } from './context.js';
import { listInstallations } from './installations.js';
import type { Installation } from './read-installation.js';
import { chooseInstalled, openEngineOf } from './installed.js';
import { lookAround, setupRequest, setupContext } from './setup-request.js';
import { shareOf, withSource } from './source.js';
import { requireTarget } from './target.js';

export interface FlashmoeOptions {
  /** Folder of models and settings; $FLASHMOE_HOME, else ~/.flashmoe. */
  home?: string;
  /** Sentences that the command would write to stderr. */
  note?: (line: string) => void;
  signal?: AbortSignal;
}

export interface SetupTask {
  onEvent?: (event: InstallEvent) => void;
  signal?: AbortSignal;
  /** Pauses and resumes the setup. */
  controls?: Controls;
}

export interface Flashmoe {
  /** What a setup would download and keep. Changes nothing. */
  plan(
    options: Partial<SetupOptions>,
    task?: Pick<SetupTask, 'onEvent' | 'signal'>,
  ): Promise<PlanSummary>;
  /** From the plan to the known answers. Run again after an error or an abort, it goes on from what is on disk. */
  setup(options: Partial<SetupOptions>, task?: SetupTask): Promise<Receipt>;
  /** Every model in the home, finished or not. */
  models(): Promise<Installation[]>;
  /** A finished model, ready to answer; without a name the default one. The caller closes it. */
  open(model?: string | null, options?: Partial<EngineOptions>): Promise<Engine>;
  /** The HTTP server, on 127.0.0.1 unless `host` says otherwise; the model is loaded while it listens. */
  serve(options?: ServeTask): Promise<RunningServer>;
}

export interface ServeTask extends Partial<EngineOptions> {
  model?: string | null;
  host?: string;
  /** 0: any free one. */
  port?: number;
  apiKey?: string | null;
}

/** @param version of the program, told to the hub */
export function createFlashmoe(version: string, options: FlashmoeOptions = {}): Flashmoe {
  const host = currentHost();
  const home = homePaths(options.home ?? flashmoeHome(host));
  const never = new AbortController().signal;
  const note = options.note ?? ((): void => undefined);
  const context: AppContext = { host, version, home, signal: options.signal ?? never, note };
  return {
    async plan(asked, task = {}) {
      const setup = await openFor(context, asked, task);
      await setup.close();
      return setup.plan.summary;
    },
    async setup(asked, task = {}) {
      const setup = await openFor(context, asked, task);
      const { onEvent, signal = context.signal, controls = new Controls() } = task;
      try {
        return await setup.run({ emit: (event) => onEvent?.(event), signal, controls });
      } finally {
        await setup.close();
      }
    },
    models: () => listInstallations(home),
    async open(model = null, typed = {}) {
      return openEngineOf(context, await chooseInstalled(context, model), context.signal, {
        typed,
      });
    },
    async serve({ model = null, host: address, port, apiKey = null, ...typed } = {}) {
      const installed = await chooseInstalled(context, model);
      const presence = new Presence();
      await presence.enter(installed.paths);
      const server = await serve({
        ...(address === undefined ? {} : { host: address }),
        ...{ port: port ?? DEFAULT_PORT, apiKey, modelId: installed.id, fast: null, version },
        // Looked up again: an update may have put another one in its place.
        load: async (signal) =>
          openEngineOf(context, await chooseInstalled(context, installed.id), signal, { typed }),
        waiting: () => null,
        now: () => host.now(),
        emit: () => undefined,
      }).catch(async (error: unknown) => {
        await presence.leave();
        throw error;
      });
      return {
        ...server,
        close: (drainMs?: number) => server.close(drainMs).finally(() => presence.leave()),
      };
    },
  };
}

async function openFor(
  context: AppContext,
  asked: Partial<SetupOptions>,
  { onEvent, signal = context.signal }: Pick<SetupTask, 'onEvent' | 'signal'>,
): Promise<Setup> {
  const { model = null, ...given } = asked;
  checkOptions(setupOptions, given);
  const words = await withSource(context, { ...withNothingSaid(setupOptions, given), model });
  const target = requireTarget(words);
  const around = await lookAround(context);
  const share = shareOf(words.from, context.host.env);
  const resumeCommand = commandLine(
    setupArguments({ ...words, json: null, home: context.home.home }),
  );
  return openSetup(
    setupRequest(target, words.quant ?? '4bit', words, { share, resumeCommand }),
    setupContext(
      context,
      around,
      () => false,
      () => Promise.resolve(),
    ),
    { emit: (event) => onEvent?.(event), signal },
  );
}

/** Throws ERR_USAGE for a value that the option cannot have. */
function checkOptions(set: OptionSet, values: Readonly<Record<string, unknown>>): void {
  for (const [name, value] of Object.entries(values)) {
    const each = Object.hasOwn(set, name) ? set[name] : undefined;
    if (value !== null && value !== undefined && each !== undefined)
      checkValue(each.kind, name, value);
  }
}
