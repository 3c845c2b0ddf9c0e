// The wizard's interface to the installer: what the views ask for, done with the real parts.

import { setTimeout as delay } from 'node:timers/promises';
import { FlashmoeError } from '../base/errors.js';
import { monotonic } from '../base/host.js';
import { keepAwake } from '../machine/awake.js';
import { connectToJob } from '../jobs/control/client.js';
import { Controls } from '../jobs/controls.js';
import type { Emit, InstallEvent, PlanSummary } from '../jobs/events.js';
import type { Receipt } from '../store/receipt.js';
import { locatedInstallation } from '../store/location.js';
import { openSetup, type Setup } from '../installer/setup.js';
import { checkMachine } from '../installer/steps/machine.js';

import type {
  ModelChoice,
  NamedSource,
  RunningSetup,
  SourceKind,
  SetupChoice,
  Finding,
  SetupRunner,
  StartTask,
} from './setup-runner.js';
import { startInBackground } from './background.js';
import { shareOf, withSource } from './source.js';
import { commandLine } from './command-line.js';
import type { AppContext } from './context.js';
import { attachedRun, follow } from './job.js';
import { modelChoices } from './model-choices.js';
import { settleDefault, setupRequest, setupContext, type Surroundings } from './setup-request.js';
import { setupArguments, type SetupCommand } from '../settings/setup-options.js';
import { requireTarget, type Target } from './target.js';

const WORTH_WAKING = 1e9;

interface Opened {
  choice: SetupChoice;
  setup: Setup;
  /** Decides the default model, once; a sentence when that is worth one. */
  settle: () => Promise<string | null>;
  /** Of machine and plan, told again when the run is drawn. */
  events: InstallEvent[];
}

export interface SetupSession extends SetupRunner {
  close(): Promise<void>;
}

/**
 * `words` are the command line's; a choice of the wizard goes before them. With `live` the events of
 * machine and plan are told as they come, else they are told when the run begins. `onResumable` is told the command
 * that goes on after an interruption, as soon as it is known.
 */
export function createRunner(
  context: AppContext,
  around: Surroundings,
  words: SetupCommand,
  live: Emit | null,
  onResumable: (command: string) => void,
): SetupSession {
  let machineEvents: InstallEvent[] = [];
  let opened: Opened | null = null;
  let wantsService = false;
  let resumeCommand = '';

  // Only what differs from the defaults: people read these words.
  const wordsOf = (choice: SetupChoice): SetupCommand => {
    const named =
      choice.source === undefined || choice.source === null
        ? { ...words, model: words.repo === null ? choice.model : words.model }
        : { ...words, ...sourceWords(choice.source) };
    const declined = !choice.service && around.manager !== null && !requireTarget(named).bundled;
    return {
      ...named,
      quant: choice.quant === '4bit' ? words.quant : choice.quant,
      service: declined ? false : words.service,
    };
  };
  const targetFor = (choice: SetupChoice): Target => {
    const target = requireTarget(wordsOf(choice));
    resumeCommand = commandLine(setupArguments(wordsOf(choice)));
    onResumable(resumeCommand);
    return target;
  };
  const close = async (): Promise<void> => {
    await opened?.setup.close();
    opened = null;
  };
  const open = async (choice: SetupChoice, signal: AbortSignal): Promise<Opened> => {
    await close();
    const target = targetFor(choice);
    const events = [...machineEvents];
    let settled: Promise<string | null> | null = null;
    const settle = () => (settled ??= settleDefault(context, target, choice.quant));
    const setup = await openSetup(
      setupRequest(target, choice.quant, wordsOf(choice), {
        share: shareOf(wordsOf(choice).from, context.host.env),
        resumeCommand,
      }),
      setupContext(context, around, () => wantsService, settle),
      { emit: live ?? ((event) => void events.push(event)), signal },
    );
    opened = { choice, setup, settle, events };
    return opened;
  };
  const run = async (
    choice: SetupChoice,
    controls: Controls,
    { emit: show, signal }: StartTask,
  ): Promise<Receipt> => {
    // Somebody else's run is no failure of ours: it is shown instead, see `start`.
    const emit: Emit = (event) => {
      if (event.type !== 'failed' || event.code !== 'ERR_LOCKED') show(event);
    };
    const same =
      opened?.choice.model === choice.model &&
      opened.choice.quant === choice.quant &&
      opened.choice.source === choice.source;
    const { setup, settle, events } = same && opened ? opened : await open(choice, signal);
    wantsService = choice.service;
    for (const event of events) emit(event);
    const awake = isLong(setup.plan.summary)
      ? await keepAwake(context.host, 'a model is being set up')
      : null;
    try {
      const receipt = await setup.run({ emit, signal, controls });
      const message = await settle();
      if (message !== null) emit({ type: 'notice', message });
      return receipt;
    } finally {
      awake?.release();
      await close();
    }
  };

  return {
    close,
    async machine(signal): Promise<Finding[]> {
      const events: InstallEvent[] = [];
      const task = { signal, home: context.home.models, host: context.host };
      try {
        await checkMachine({
          ...task,
          emit: (event) => {
            events.push(event);
            live?.(event);
          },
        });
      } catch (error) {
        // A finding that fails is shown as what it is; only a check that broke is an error.
        const shown = events.some((event) => event.type === 'finding' && event.severity === 'fail');
        if (live !== null || !shown) throw error;
      }
      machineEvents = live === null ? events : [];
      return events.flatMap((event) => (event.type === 'finding' ? [event] : []));
    },
    models: (): Promise<ModelChoice[]> => modelChoices(context),
    source: (kind, text) => namedSource(context, words, kind, text),
    plan: async (choice, signal) => (await open(choice, signal)).setup.plan.summary,
    start(choice, task): RunningSetup {
      const controls = new Controls();
      let other: RunningSetup | null = null;
      const done = run(choice, controls, task).catch(async (error: unknown) => {
        if (!(error instanceof FlashmoeError) || error.code !== 'ERR_LOCKED') throw error;
        const { lock } = await locatedInstallation(
          context.home,
          targetFor(choice).model,
          choice.quant,
        );
        const connection = await connectToJob(lock);
        if (connection === null) throw error;
        other = attachedRun(connection, follow(connection, task));
        return await other.done;
      });
      return {
        done,
        pause: () => (other ?? controls).pause(),
        resume: () => (other ?? controls).resume(),
      };
    },
    background: async (choice) => {
      const words = setupArguments({ ...wordsOf(choice), yes: true, json: true });
      const { pid, log, hasEnded } = await startInBackground(context, words);
      const { model } = targetFor(choice);
      const { lock } = await locatedInstallation(context.home, model, choice.quant);
      await untilAttachable(lock, hasEnded);
      return { pid, log };
    },
  };
}

const ATTACHABLE_MS = 15_000;

/** `flashmoe attach` works at once: until the process can be connected to, is gone, or takes too long. */
async function untilAttachable(lock: string, hasEnded: () => boolean): Promise<void> {
  for (const end = monotonic() + ATTACHABLE_MS; monotonic() < end; await delay(100)) {
    const connection = await connectToJob(lock);
    connection?.close();
    if (connection !== null || hasEnded()) return;
  }
}

function sourceWords({ repo, revision, from, file }: NamedSource): Partial<SetupCommand> {
  return { model: null, repo, revision, from, file };
}

async function namedSource(
  context: AppContext,
  words: SetupCommand,
  kind: SourceKind,
  text: string,
): Promise<NamedSource> {
  const typed = { ...words, model: null, repo: null, revision: null, from: null };
  const found = await withSource(context, { ...typed, [kind]: text.trim() });
  const { model, repo } = requireTarget(found);
  const { revision, from, file, quant } = found;
  return { model, repo, revision, from, file, quant: quant === words.quant ? null : quant };
}

/** Shorter ones are over before a machine falls asleep. */
function isLong({ downloadBytes, doneBytes }: PlanSummary): boolean {
  return downloadBytes - doneBytes > WORTH_WAKING;
}
