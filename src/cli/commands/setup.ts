// flashmoe setup: a wizard on a terminal, plain lines or NDJSON elsewhere; in the end a known answer.

import { EXIT, FlashmoeError } from '../../base/errors.js';
import { connectToJob } from '../../jobs/control/client.js';
import { locatedInstallation } from '../../store/location.js';
import type { EmitAt, SetupChoice } from '../../application/setup-runner.js';
import { createWizard } from '../../ui/wizard.js';
import { requireAgreement } from '../../application/agreement.js';
import { shareOf, withSource } from '../../application/source.js';
import type { CliContext } from '../context.js';
import { recommend } from '../../application/model-choices.js';
import { handOver, leaveNoJob, type HandedOver } from '../../application/overnight.js';
import { lookAround, type Surroundings } from '../../application/setup-request.js';
import { createRunner, type SetupSession } from '../../application/setup-session.js';
import { withNamed } from '../../application/named-here.js';
import { createSink, finish, onTerminal, outcome, showJob } from '../setup-view.js';
import { USER_FILE_OPTIONS } from '../../installer/user-files.js';
import { longName } from '../../settings/option.js';
import { setupOptions, type SetupCommand } from '../../settings/setup-options.js';
import { targetOf, type Target } from '../../application/target.js';

export async function setup(context: CliContext, typed: SetupCommand): Promise<number> {
  if (typed.keepSource === true && typed.from !== null) {
    throw new FlashmoeError('ERR_USAGE', 'what --from names is the source already', {
      hint: 'leave --keep-source away',
      subject: '--keep-source',
    });
  }
  const [own] = USER_FILE_OPTIONS.filter((name) => typed[name] !== null);
  if (own !== undefined && shareOf(typed.from, context.host.env) !== null) {
    const flag = `--${longName(setupOptions[own])}`;
    throw new FlashmoeError('ERR_USAGE', 'what another machine shares is made already', {
      hint: `leave ${flag} away, or take the bytes from the hub`,
      subject: flag,
    });
  }
  const words = await withSource(context, await withNamed(context, typed));
  const target = targetOf(words);
  const joined = target === null ? null : await join(context, target, words);
  if (joined !== null) return joined;
  const around = await lookAround(context);
  const live =
    context.outputMode === 'ink' && words.overnight !== true ? null : createSink(context);
  const runner = createRunner(context, around, words, live, (command) => {
    context.resumeCommand = command;
  });
  try {
    if (live === null) return await withWizard(context, around, runner, words);
    if (target === null) {
      throw new FlashmoeError(
        'ERR_USAGE',
        'no model was named, and there is no terminal to ask on',
        {
          hint: `\`flashmoe setup ${await recommend(context)}\`; \`flashmoe models\` lists them all`,
        },
      );
    }
    const { model, bundled } = target;
    // What is bundled is for trying out: nobody expects a server at every login from it.
    const service = words.service !== false && !bundled;
    const choice: SetupChoice = { model, quant: words.quant ?? '4bit', service };
    for (const message of noticesFor(around, words)) live({ type: 'notice', message });
    if (words.overnight === true) {
      return toldHandOver(context, await handOver(context, around, runner, words, choice));
    }
    return await withoutTerminal(context, live, runner, words, choice);
  } finally {
    await runner.close();
    await leaveNoJob(context, around, context.interruption.status() === null);
  }
}

async function withoutTerminal(
  context: CliContext,
  live: EmitAt,
  runner: SetupSession,
  words: SetupCommand,
  choice: SetupChoice,
): Promise<number> {
  const { signal } = context;
  await runner.machine(signal);
  const plan = await runner.plan(choice, signal);
  if (words.yes !== true) requireAgreement(plan, words);
  const attached = (pid: number | null): void =>
    live({ type: 'notice', message: `process ${pid ?? ''} is at it already; this is its view` });
  return finish(context, await runner.start(choice, { emit: live, signal, attached }).done);
}

/** The view of the very same setup where it is running already; new limits are told to it. */
async function join(
  context: CliContext,
  { model }: Target,
  words: SetupCommand,
): Promise<number | null> {
  const { lock } = await locatedInstallation(context.home, model, words.quant ?? '4bit');
  const connection = await connectToJob(lock);
  if (connection === null) return null;
  const change = { ...words.limit, ...words.hours };
  if (Object.keys(change).length > 0) await connection.ask({ do: 'limits', change });
  return showJob(context, { id: model, connection });
}

function noticesFor({ notices, manager }: Surroundings, words: SetupCommand): string[] {
  const bundled = targetOf(words)?.bundled ?? false;
  if (bundled) return [];
  const none = 'no launchd or systemd user manager here: start the server with `flashmoe serve`';
  return manager === null && words.service !== false ? [...notices, none] : notices;
}

async function withWizard(
  context: CliContext,
  around: Surroundings,
  runner: SetupSession,
  words: SetupCommand,
): Promise<number> {
  const target = targetOf(words);
  const wizard = createWizard({
    runner,
    model: target?.model ?? null,
    recommended: await recommend(context),
    quant: words.quant,
    service:
      around.manager === null || words.service === false ? null : !(target?.bundled ?? false),
    yes: words.yes === true,
    now: () => context.host.now(),
    signal: context.signal,
    interrupt: () => context.interruption.interrupt(),
  });
  return outcome(context, await onTerminal(context, wizard));
}

function toldHandOver(context: CliContext, job: HandedOver): number {
  if (context.json) {
    context.emit('overnight', job);
    return EXIT.done;
  }
  const who = job.by === 'process' ? 'a process of its own' : job.by;
  context.print(`handed to ${who}${job.pid === null ? '' : ` (process ${job.pid})`}; good night`);
  context.print('');
  context.print('  flashmoe status    how far it is');
  context.print('  flashmoe attach    watch it; leaving does not stop it');
  context.print('  flashmoe report    in the morning: what happened');
  context.print(`  log                ${job.log}`);
  return EXIT.done;
}
