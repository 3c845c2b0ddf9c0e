// flashmoe setup: a wizard on a terminal, plain lines or NDJSON elsewhere; in the end a known answer.

import { EXIT, FlashmoeError } from '../../base/errors.js';
import type { Emit, Receipt } from '../../installer/events.js';
import { ndjsonSink } from '../../ui/ndjson.js';
import { plainSink } from '../../ui/plain.js';
import { receiptText } from '../../ui/receipt-view.js';
import type { SetupChoice } from '../../ui/setup-runner.js';
import { createWizard, type WizardOutcome } from '../../ui/wizard.js';
import { requireAgreement } from '../agreement.js';
import type { CliContext } from '../context.js';
import { recommend } from '../model-choices.js';
import { lookAround, type Surroundings } from '../setup-parts.js';
import { createRunner, type CliRunner } from '../setup-runner.js';
import { targetOf, type SetupWords } from '../target.js';

export async function setup(context: CliContext, words: SetupWords): Promise<number> {
  const target = targetOf(words);
  const around = await lookAround(context);
  const live = context.face === 'ink' ? null : createSink(context);
  const runner = createRunner(context, around, words, live);
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
    const service = words.service && !bundled;
    const choice: SetupChoice = { model, quant: words.quant ?? '4bit', service };
    for (const message of noticesFor(around, words)) live({ type: 'notice', message });
    return await withoutTerminal(context, live, runner, words, choice);
  } finally {
    await runner.close();
  }
}

async function withoutTerminal(
  context: CliContext,
  live: Emit,
  runner: CliRunner,
  words: SetupWords,
  choice: SetupChoice,
): Promise<number> {
  const { signal } = context;
  await runner.machine(signal);
  const plan = await runner.plan(choice, signal);
  if (!words.yes) requireAgreement(plan, words);
  return finish(context, await runner.start(choice, { emit: live, signal }).done);
}

/** Without result and failure: both are told last, when everything else is settled. */
function createSink(context: CliContext): Emit {
  const now = (): number => context.host.now();
  const sink = context.json
    ? ndjsonSink({ write: (line) => context.print(line), now })
    : plainSink({ write: (line) => context.note(line), now, style: context.noteStyle });
  return (event) => {
    if (event.type !== 'finished' && event.type !== 'failed') sink(event);
  };
}

function noticesFor({ notices, manager }: Surroundings, words: SetupWords): string[] {
  const bundled = targetOf(words)?.bundled ?? false;
  if (bundled) return [];
  const none = 'no launchd or systemd user manager here: start the server with `flashmoe serve`';
  return manager === null && words.service ? [...notices, none] : notices;
}

async function withWizard(
  context: CliContext,
  around: Surroundings,
  runner: CliRunner,
  words: SetupWords,
): Promise<number> {
  // chalk, below Ink, has its own idea of when to colour; ours was decided already.
  process.env['FORCE_COLOR'] = context.color.stdout ? (process.env['FORCE_COLOR'] ?? '1') : '0';
  const { runOnTerminal } = await import('../../ui/ink/mount.js');
  const target = targetOf(words);
  const wizard = createWizard({
    runner,
    model: target?.model ?? null,
    recommended: await recommend(context),
    quant: words.quant,
    service: around.manager === null || !words.service ? null : !(target?.bundled ?? false),
    yes: words.yes,
    now: () => context.host.now(),
    signal: context.signal,
    interrupt: () => context.interruption.interrupt(),
  });
  const { stdin, stdout, stderr } = context;
  return outcome(context, await runOnTerminal(wizard, { stdin, stdout, stderr }, context.style));
}

function outcome(context: CliContext, result: WizardOutcome): number {
  switch (result.kind) {
    case 'finished':
      return finish(context, result.receipt);
    case 'background':
      context.print(`going on in the background as process ${result.pid}, log ${result.log}`);
      context.print('how far it is: flashmoe status');
      return EXIT.done;
    case 'quit': {
      const how = context.interruption.status() ?? EXIT.interrupted;
      context.note(
        result.begun
          ? `stopped; everything that was finished is kept\n\nhint: run \`${context.resumeCommand ?? 'flashmoe setup'}\` to go on`
          : 'nothing was changed',
      );
      return how;
    }
  }
}

function finish(context: CliContext, receipt: Receipt): number {
  if (context.json) {
    context.emit('finished', { receipt });
    return EXIT.done;
  }
  context.print(`${context.style.good(context.style.glyph.ok)} ${receipt.model} answers`);
  context.print('');
  context.print(receiptText(receipt));
  context.note('');
  context.note('next: flashmoe run "Why is the sky blue?", or flashmoe serve');
  return EXIT.done;
}
