// flashmoe serve: the server in the foreground, until it is told to stop.

import { once } from 'node:events';
import { stat } from 'node:fs/promises';
import { asFlashmoeError, EXIT, FlashmoeError } from '../../base/errors.js';
import { formatBytes } from '../../base/format.js';
import type { ServerEvent } from '../../server/context.js';
import { servedAt } from '../../server/already-serving.js';
import { isTold } from '../../server/log-level.js';
import type { InstalledModel } from '../../server/model-host.js';
import { DEFAULT_PORT, serve as startServer } from '../../server/serve.js';
import { clockWithSeconds } from '../../base/clock.js';
import { AwakeWhileBusy, keepAwakeOnMac } from '../../machine/awake.js';
import type { Engine } from '../../engine/types.js';
import { watchEngine } from '../../engine/watched-engine.js';
import { runAsService, type ServiceRun } from '../../application/service-run.js';
import { commandLine } from '../../application/command-line.js';
import type { CliContext } from '../context.js';
import { stateOf } from '../../application/state-of.js';
import { memoryPlanLine } from '../memory-plan-line.js';
import { decodeRate } from '../decode-rate.js';
import { chooseInstalled, openEngineOf } from '../../application/installed.js';
import { judgeServed } from '../../application/judge-installed.js';
import { aboutInstalled } from '../../application/model-choices.js';
import { readyInstallations, type Ready } from '../../application/ready-models.js';
import { DEFAULT_KEEP_ALIVE_MINUTES, type ServeOptions } from '../../settings/engine-options.js';
import { Presence } from '../../store/presence.js';
import { readSettings } from '../../settings/file.js';
import type { Settings } from '../../settings/schema.js';

export interface ServeArgs extends ServeOptions {
  /** Run by a service manager: see application/service-run.ts. */
  asService: boolean;
}

export async function serve(context: CliContext, args: ServeArgs): Promise<number> {
  const service = args.asService ? await runAsService(context, args.model) : null;
  try {
    return await serveUntilTold(context, args, service);
  } catch (error) {
    service?.log(asFlashmoeError(error).message);
    throw error;
  }
}

async function serveUntilTold(
  context: CliContext,
  args: ServeArgs,
  service: ServiceRun | null,
): Promise<number> {
  const settings = await readSettings(context.home.settings);
  const choose = (): Promise<Ready> => chooseInstalled(context, args.model);
  // Without a model the port answers all the same, and says why: a service must not start over and over.
  const installed = await choose().catch((error: unknown) => {
    if (args.model === null || service !== null) return null;
    throw error;
  });
  const modelId = installed?.id ?? settings.model ?? null;
  const awake = new AwakeWhileBusy(() => keepAwakeOnMac(context.host));
  const presence = new Presence();
  const port = args.port ?? settings.port ?? DEFAULT_PORT;
  const server = await startServer({
    ...(args.host === null ? {} : { host: args.host }),
    port,
    // Not an option: arguments are readable by everybody on the machine.
    apiKey: context.host.env['FLASHMOE_API_KEY'] || null,
    modelId,
    fast: fastTier(context, args, settings),
    memory: () => ({ process: process.memoryUsage.rss(), machine: context.host.memoryBytes }),
    installed: () => installedModels(context),
    unloadAfterMs:
      60_000 * (args.keepAlive ?? settings.keepAliveMinutes ?? DEFAULT_KEEP_ALIVE_MINUTES),
    load: async (signal, id) => {
      // The volume may have to come first: what is there is looked up again.
      await service?.ready(signal);
      const loaded = awake.begin();
      try {
        const model = await (id === modelId ? choose() : chooseInstalled(context, id));
        const { state, why, next } = await stateOf(model, null);
        if (state !== 'ready') {
          const line = `${model.id} is ${state}, ${why ?? ''}; it is served all the same. \`${commandLine(next)}\``;
          if (service === null) context.note(line);
          else service.log(line);
        }
        await presence.enter(model.paths);
        const engine = await openEngineOf(context, model, signal, {
          typed: args,
          promptCache: { gigabytes: args.promptCache },
          sessions: ANSWERS_AT_ONCE,
        });
        if (engine.model.memory) context.note(memoryPlanLine(engine.model.memory));
        return watchEngine(engine, () => awake.begin());
      } finally {
        loaded();
      }
    },
    waiting: () => service?.waiting() ?? null,
    ...(computesAll(args) && {
      idle: {
        task: async (engine: Engine, id: string, signal: AbortSignal) => {
          const report = await judgeServed(context, engine, id, signal);
          if (report === null) return;
          const reason = report.reasons[0] ?? report.notJudged[0] ?? null;
          tell(context, service, { type: 'judged', id, verdict: report.verdict, reason });
        },
      },
    }),
    version: context.version,
    now: () => context.host.now(),
    emit: (event) => {
      if (isTold(event, args.logLevel ?? 'info')) tell(context, service, event);
    },
  }).catch(async (error: unknown) => {
    throw await orAlreadyServing(error, port);
  });
  try {
    if (!context.signal.aborted) await once(context.signal, 'abort');
    return stopped(context);
  } finally {
    await server.close();
    await presence.leave();
    awake.close();
    await service?.stopped();
  }
}

/** Whoever computes less than the model has is no judge of it. */
function computesAll({ experts, expertMass }: ServeArgs): boolean {
  return experts === null && expertMass === null;
}

/** A port that a server of ours has is no riddle. */
async function orAlreadyServing(thrown: unknown, port: number): Promise<unknown> {
  if (!(thrown instanceof FlashmoeError) || thrown.code !== 'ERR_PORT_IN_USE') return thrown;
  const served = await servedAt(port);
  if (served === null) return thrown;
  const what =
    served.model === null ? 'already serving, without a model,' : `already serving ${served.model}`;
  return new FlashmoeError(
    'ERR_PORT_IN_USE',
    `${what} at http://127.0.0.1:${port}/; nothing was changed`,
    {
      hint: '`flashmoe chat` talks to it, `flashmoe ps` says what it does; for a second server name another --port',
      subject: String(port),
      cause: thrown,
    },
  );
}

async function installedModels({ home }: CliContext): Promise<InstalledModel[]> {
  const ready = await readyInstallations(home);
  return await Promise.all(
    ready.map(async (each) => ({
      id: each.id,
      quant: each.manifest.quant,
      bytes: each.manifest.finalBytes,
      since: (await stat(each.paths.manifest)).mtimeMs,
      about: aboutInstalled(each),
    })),
  );
}

/** A short question needn't wait for the end of a long answer; more would each take a context's share of memory. */
const ANSWERS_AT_ONCE = 2;

/** The key comes from the environment only, for the same reason. */
function fastTier(
  { host }: CliContext,
  { fastUpstream, fastModel }: ServeArgs,
  settings: Settings,
): { url: string; model: string | null; apiKey: string | null } | null {
  const url = fastUpstream ?? settings.fastUpstream ?? null;
  const model = fastModel ?? settings.fastModel ?? null;
  if (url === null) {
    if (fastModel === null) return null;
    throw new FlashmoeError('ERR_USAGE', '--fast-model needs --fast-upstream', {
      hint: `flashmoe serve --fast-upstream http://127.0.0.1:11434/v1 --fast-model ${fastModel}`,
    });
  }
  return { url, model, apiKey: host.env['FLASHMOE_FAST_API_KEY'] || null };
}

/** A server that was terminated has done its work, and a service manager must not take it for a crash. */
function stopped(context: CliContext): number {
  const status = context.interruption.status() ?? EXIT.done;
  return status === EXIT.terminated ? EXIT.done : status;
}

function tell(context: CliContext, service: ServiceRun | null, event: ServerEvent): void {
  if (service !== null) {
    service.log(lineOf(event));
    return;
  }
  if (context.json) {
    const { type, ...fields } = event;
    context.emit(type, fields);
    return;
  }
  const line = lineOf(event);
  context.note(`${clockWithSeconds(context.host.now())} ${line}`);
}

function lineOf(event: ServerEvent): string {
  switch (event.type) {
    case 'listening':
      return `listening on ${event.url}`;
    case 'model':
      return `model ${event.id ?? 'none'} ${event.status}${event.detail ? `, ${event.detail}` : ''}`;
    case 'request':
      return [
        `${event.method} ${event.path} ${event.status} in ${event.seconds.toFixed(2)} s`,
        ...(event.status < 400 ? [] : [`${event.id}: ${event.reason ?? 'no reason'}`]),
      ].join(', ');
    case 'generation': {
      const { usage, timings, outcome } = event;
      return [
        `${event.id} ${outcome}`,
        `${usage.promptTokens} + ${usage.completionTokens} tokens`,
        `${decodeRate(usage, timings).toFixed(1)} tokens/s`,
        `${formatBytes(timings.expertBytesRead)} of experts read`,
      ].join(', ');
    }
    case 'judged':
      return `${event.id} was judged while nobody asked: ${event.verdict}${event.reason === null ? '' : `, ${event.reason}`}`;
    case 'error':
      return event.message;
    case 'unknown-field':
      return `requests carry the unknown field ${event.field}, ignored`;
  }
}
