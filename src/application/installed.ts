// From a name, or none, to the finished model that is meant, and to an engine that runs it.

import { join } from 'node:path';
import { FlashmoeError } from '../base/errors.js';
import { exec } from '../base/exec.js';
import { expectedBackend } from '../engine/backend.js';
import type { OpenEngineOptions } from '../engine/open-engine.js';
import type { Engine, Sampling } from '../engine/types.js';
import { memoryFacts } from '../machine/memory-facts.js';
import { requireSmallFiles } from '../store/small-files.js';
import type { Quant } from '../models/quant.js';
import type { AppContext } from './context.js';
import { setupCommandFor } from '../models/catalog.js';
import { commandLine } from './command-line.js';
import { stateOf } from './state-of.js';
import { nativeAddon } from './native.js';
import { listInstallations } from './installations.js';
import type { Installation } from './read-installation.js';
import { choose, isReady, readyInstallations, type Ready } from './ready-models.js';
import {
  DEFAULT_PROMPT_CACHE_GB,
  SERVED_ARITHMETIC,
  type EngineOptions,
} from '../settings/engine-options.js';
import { readSettings } from '../settings/file.js';
import { engineOptionsFor } from '../settings/schema.js';

/** Reads of single experts that are under way at once; the disk's queue, not the processor, sets it. */
export const IO_THREADS = 8;

/** Throws ERR_MODEL_MISSING, or ERR_USAGE when it isn't clear which one. */
export async function chooseInstalled(context: AppContext, name: string | null): Promise<Ready> {
  const settings = await readSettings(context.home.settings);
  const all = await listInstallations(context.home);
  const wanted = name?.toLowerCase() ?? settings.model ?? null;
  const away = all.find((one) => one.away !== null && one.id === wanted);
  if (away !== undefined) throw isAway(away);
  const unusable = all.find(({ id, problem }) => problem !== null && id === wanted);
  if (unusable !== undefined) {
    throw new FlashmoeError('ERR_MODEL_MISSING', `${unusable.id}: ${unusable.problem ?? ''}`, {
      hint: 'flashmoe status',
      subject: unusable.id,
    });
  }
  const begun = all.find(({ id, manifest, plan }) => {
    return manifest === null && plan !== null && (id === wanted || plan.model === wanted);
  });
  const ready = all.filter(isReady);
  if (begun !== undefined && !ready.some(({ manifest }) => manifest.model === wanted)) {
    throw await isUnfinished(begun);
  }
  const [unfinished] = all.filter(({ manifest, plan }) => manifest === null && plan !== null);
  if (wanted === null && ready.length === 0 && unfinished !== undefined) {
    throw await isUnfinished(unfinished);
  }
  return choose(ready, name, settings);
}

/** Of a model that was moved to a disk which is not there now. */
export function isAway({ id, problem }: Pick<Installation, 'id' | 'problem'>): FlashmoeError {
  return new FlashmoeError('ERR_MODEL_MISSING', `${id}: ${problem ?? 'it is not there'}`, {
    hint: 'attach that disk, then type the same command again',
    subject: id,
  });
}

/** As chooseInstalled; with a width, the model at exactly that. */
export async function chooseWidth(
  context: AppContext,
  name: string | null,
  quant: Quant | null,
): Promise<Ready> {
  if (quant === null) return chooseInstalled(context, name);
  const ready = await readyInstallations(context.home);
  const found = ready.find(
    ({ id, manifest }) =>
      manifest.quant === quant && (name === null || manifest.model === name || id === name),
  );
  if (found !== undefined) return found;
  const missing = name ?? 'tiny';
  throw new FlashmoeError('ERR_MODEL_MISSING', `${missing} is not set up here at ${quant}`, {
    hint: `${setupCommandFor(missing)} --quant ${quant}`,
  });
}

export interface OpenChoices {
  /** What was typed: the settings say the rest, for this model or for all. */
  typed?: Partial<EngineOptions>;
  /** null: as the model says. */
  expertsPerToken?: number | null;
  /** States of prompts are kept below the home, as many GB as given or as the settings say. */
  promptCache?: { gigabytes: number | null };
  /** Answers at once, as far as memory has room for them. Absent: one. */
  sessions?: number;
}

/** What is missing of it, and the command that makes it. */
async function isUnfinished(begun: Installation): Promise<FlashmoeError> {
  const { state, why, next } = await stateOf(begun, null);
  const reason = why === null ? '' : `, ${why}`;
  return new FlashmoeError('ERR_MODEL_MISSING', `${begun.id} is ${state}${reason}`, {
    hint: commandLine(next),
    subject: begun.id,
  });
}

/** Throws what the engine has against the files or the backend. The caller closes it. */
export async function openEngineOf(
  context: AppContext,
  { id, paths, manifest }: Pick<Ready, 'id' | 'paths' | 'manifest'>,
  signal: AbortSignal,
  { typed = {}, expertsPerToken = null, promptCache, sessions = 1 }: OpenChoices = {},
): Promise<Engine> {
  await requireSmallFiles(manifest, paths);
  const settings = await readSettings(context.home.settings);
  const options = engineOptionsFor(typed, settings, id);
  const { backend, directReads, context: contextLength, experts } = options;
  const { arithmetic, expertMass, memory } = options;
  const fewer = expertsPerToken ?? experts;
  // Templates and tokenizers: most commands never need them.
  const { openEngine } = await import('../engine/open-engine.js');
  return openEngine({
    backend,
    expectedBackend: expectedBackend(context.host),
    directReads: directReads ?? false,
    ...(fewer === null ? {} : { expertsPerToken: fewer }),
    ...(contextLength === null ? {} : { contextLength }),
    arithmetic: arithmetic ?? SERVED_ARITHMETIC,
    ...(expertMass === null ? {} : { expertMass }),
    sampling: samplingOf(options),
    sessions,
    ...(promptCache && { states: await promptStates(context, promptCache.gigabytes) }),
    memory: {
      memoryBytes: context.host.memoryBytes,
      state: () => memoryFacts(context.host, exec, AbortSignal.timeout(MEMORY_FACTS_MS)),
      wishes: { memoryBytes: memory, contextLength, sessions },
      hottest: join(context.home.prompts, `${id}.hottest`),
    },
    addon: nativeAddon(context),
    id,
    modelDir: paths.root,
    expertsDir: paths.experts(manifest.quant),
    threads: context.host.cores,
    ioThreads: IO_THREADS,
    signal,
  });
}

/** Tools that tell of memory answer at once, or a machine is so short of it that it needs no telling. */
const MEMORY_FACTS_MS = 10_000;

function samplingOf(options: EngineOptions): Partial<Sampling> {
  const { temperature, topP, topK, minP, repetitionPenalty } = options;
  const all = Object.entries({ temperature, topP, topK, minP, repetitionPenalty });
  return Object.fromEntries(all.filter(([, value]) => value !== null));
}

async function promptStates(
  context: AppContext,
  gigabytes: number | null,
): Promise<NonNullable<OpenEngineOptions['states']>> {
  const { home, host, version } = context;
  const { promptCacheGB = DEFAULT_PROMPT_CACHE_GB } = await readSettings(home.settings);
  return {
    root: home.prompts,
    maxBytes: (gigabytes ?? promptCacheGB) * 1e9,
    version,
    now: () => host.now(),
    notice: (error) => context.note(error.message),
  };
}
